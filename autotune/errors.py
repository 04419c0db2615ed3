"""The errors autotune raises on purpose.

AutotuneError
├── InputError (ValueError)   the user gave something wrong; nothing was started or written
│   └── PluginError           a plugin was refused at registration
├── Unsupported               a plugin says that it cannot work here (defined in plugin.py)
├── StoreError                the database cannot be used
│   └── StoreUnreachable      its server does not answer now; trying again may help
├── BrokerError               the workers' Redis does not answer, or refuses
├── BenchError                a bench session failed; carries the trial's outcome
└── Interrupted               the user stopped a search; what was measured is stored
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.outcome import Outcome


class AutotuneError(Exception):
    """Root of every error that autotune raises on purpose."""


class InputError(AutotuneError, ValueError):
    """The user gave something wrong. Raised before any work starts; exit code 2."""


class PluginError(InputError):
    """A plugin breaks its contract and was refused at registration."""


class StoreError(AutotuneError):
    """The database cannot be used: unreachable, locked, or written by another version."""


class StoreUnreachable(StoreError):
    """The database's server does not answer at the moment."""


class BrokerError(AutotuneError):
    """The broker between coordinator and workers does not answer, or refuses."""


class BenchError(AutotuneError):
    """A bench session failed while it carried a trial."""

    def __init__(self, outcome: Outcome, explanation: str) -> None:
        super().__init__(explanation)
        self.outcome = outcome
        self.explanation = explanation


class Interrupted(AutotuneError):
    """The user stopped a search. What was measured is stored; running trials are repeated."""


def unknown_name(kind: str, given: str, allowed: Iterable[str], listing: str = "") -> str:
    """Words an unknown-name error: what was given, the nearest match, what is allowed.

    Args:
        kind: What the name stands for, e.g. ``"plugin"``.
        given: The name the user wrote.
        allowed: Every name that would have been accepted.
        listing: The command that lists them, where they are too many for an error.
    """
    names = sorted(allowed)
    near = difflib.get_close_matches(given, names, n=1, cutoff=0.5) or [
        name for name in names if given and given.casefold() in name.casefold()
    ]
    hint = f"did you mean {near[0]!r}? " if near else ""
    if listing:
        return f"no {kind} named {given!r}; {hint}{listing} lists the {len(names)} that there are"
    return f"no {kind} named {given!r}; {hint}allowed: {', '.join(names) or 'none'}"

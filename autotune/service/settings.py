"""What an administrator decides when the service is started."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import InputError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class ServiceSettings:
    """One service."""

    database: str
    """URL."""
    directory: Path
    """Absolute; every study has its folder in it."""
    models: Mapping[str, str]
    """Name in a request → checkpoint directory, hub id, or a demo model's name."""
    broker: str | None = None
    """URL; without one, trials run on this machine."""
    max_running: int = 1
    """So many studies run at once; the others wait."""
    max_queued: int = 100
    open_metrics: bool = False
    """Whether ``/metrics`` needs no token."""
    requests_per_second: float = 20.0
    """Of each token, in the long run."""
    burst: int = 40
    """Requests that a token may make at once."""
    max_body_bytes: int = 1_048_576
    max_streams: int = 64
    """Event streams that are open at once."""
    look_seconds: float = 0.5
    """Between two looks at the database and at the processes."""
    keepalive_seconds: float = 15.0
    """Between two signs of life of an event stream in which nothing happens."""


def parse_models(given: Iterable[str]) -> dict[str, str]:
    """Reads ``NAME=PATH`` options.

    Raises:
        InputError: One of them is not of that form, or a name comes twice.
    """
    models: dict[str, str] = {}
    for text in given:
        name, _, path = text.partition("=")
        if not (_NAME.fullmatch(name) and path):
            raise InputError(
                f"cannot read --model {text!r}; expected NAME=PATH, e.g. llama=/models/llama, "
                "with letters, digits, ., _ and - in the name"
            )
        if name in models:
            raise InputError(f"--model names {name!r} twice; give each model its own name")
        models[name] = path
    return models

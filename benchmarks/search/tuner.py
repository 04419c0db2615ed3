"""What chooses, as the replay sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Exhausted(Exception):
    """There is nothing left to choose."""


@dataclass(frozen=True)
class Told:
    """A trial that has ended; what it measured stands in the table."""

    row: int | None
    """Of the table; None: the configuration is not in it."""
    seconds: float
    """How long it took."""
    warm: bool = False
    """Whether it needed no preparing."""
    lost: bool = False
    """Whether its worker died: nothing was measured."""


class Tuner(Protocol):
    """Chooses rows of a table. Several may be asked for before one is told."""

    def ask(self, warm_setup: str | None) -> int | None:
        """Chooses.

        Args:
            warm_setup: The ``setup_key`` that would cost no preparing now, if any.

        Returns:
            A row number, or None for a configuration that is not in the table.

        Raises:
            Exhausted: Every row was chosen.
        """

    def tell(self, told: Told) -> None:
        """Learns how a trial ended; one that was asked for twice is told twice."""

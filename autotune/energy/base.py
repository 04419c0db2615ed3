"""What every way to learn of energy offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

Reading = tuple[float, ...]
"""What a counter stands at, in joules, one number for each of its parts."""


class EnergyMeter(ABC):
    """Tells the energy of a stretch of work. Used by one thread, for one stretch at a time, in
    the coordinator and in bench processes; close it."""

    min_window_seconds: ClassVar[float] = 0.0
    """A shorter stretch says nothing."""
    min_windows: ClassVar[int] = 1

    @property
    @abstractmethod
    def source(self) -> str:
        """Where the number comes from, as stored with it."""

    @abstractmethod
    def joules_of(self, work: Callable[[], object]) -> float:
        """Runs the work.

        Returns:
            The energy that the device took meanwhile, in joules.
        """

    def close(self) -> None:  # noqa: B027 - most meters hold nothing
        """Lets go of what it holds. Idempotent."""


class Counter(EnergyMeter):
    """A counter that only grows."""

    @abstractmethod
    def now(self) -> Reading:
        """The counter."""

    def joules_since(self, start: Reading) -> float:
        """Energy since an earlier ``now()``, wrap-around corrected."""
        return sum(self.now()) - sum(start)

    def joules_of(self, work: Callable[[], object]) -> float:
        """The counter's difference."""
        start = self.now()
        work()
        return self.joules_since(start)

"""The seam between the search and whatever runs trials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from autotune.messages import Progress, TrialResult, TrialSpec

OnProgress = Callable[[Progress], None]


class Executor(Protocol):
    """Carries trials to bench sessions.

    One coordinator thread calls it. A trial that fails is a result with an outcome, never an
    exception: an exception means that the executor itself cannot go on.
    """

    @property
    def slots(self) -> int:
        """How many trials can run at once."""

    def submit(self, spec: TrialSpec) -> None:
        """Takes a trial on; returns at once."""

    def wait(self) -> TrialResult:
        """Blocks until some submitted trial has ended. Results may come in any order."""

    def warm_setup(self) -> str | None:
        """The ``setup_key`` that would not have to be prepared again, if any."""

    def close(self) -> None:
        """Ends everything that is still running. Idempotent."""

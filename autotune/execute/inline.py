"""Runs trials as calls of a function: for tests of the search and for replays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from autotune.messages import TrialResult, TrialSpec


class InlineExecutor:
    """Wraps a function from spec to result."""

    def __init__(self, run: Callable[[TrialSpec], TrialResult], slots: int = 1) -> None:
        self._run = run
        self._slots = slots
        self._waiting: deque[TrialSpec] = deque()
        self._warm: str | None = None

    @property
    def slots(self) -> int:
        """How many trials the search may keep in flight."""
        return self._slots

    def submit(self, spec: TrialSpec) -> None:
        """Queues a trial."""
        self._waiting.append(spec)

    def wait(self) -> TrialResult:
        """Runs the oldest trial that was submitted."""
        spec = self._waiting.popleft()
        self._warm = spec.setup_key
        return self._run(spec)

    def warm_setup(self) -> str | None:
        """The ``setup_key`` of the latest trial."""
        return self._warm

    def close(self) -> None:
        """Forgets what was not run."""
        self._waiting.clear()

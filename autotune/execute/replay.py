"""Trials looked up in a recorded table, on a simulated clock: a search is replayed in seconds."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field

from autotune.outcome import Outcome
from autotune.tables import Row


@dataclass
class _Worker:
    setup_key: str = ""
    """What its warm session has prepared; empty: nothing."""


@dataclass(frozen=True, order=True)
class Ended:
    """A simulated trial that has ended."""

    at_seconds: float
    """On the simulated clock."""
    job: int
    """As it was started."""
    seconds: float = field(compare=False)
    """How long it took."""
    warm: bool = field(compare=False)
    """Whether a prepared process was reused."""
    lost: bool = field(compare=False)
    """Whether its worker died meanwhile; what it measured is gone."""


class SimulatedWorkers:
    """Workers that take as long as a table says.

    Each keeps the session of its latest trial warm: the next trial of the same ``setup_key``
    prepares nothing there. A worker that dies comes back at once, with nothing prepared.
    """

    def __init__(self, count: int = 1, *, loss_ratio: float = 0.0, seed: int = 0) -> None:
        """
        Args:
            count: How many.
            loss_ratio: Share of the trials during which their worker dies.
            seed: Of these deaths.
        """
        self.now_seconds = 0.0
        """The simulated clock: when the latest trial ended."""
        self._idle = [_Worker() for _ in range(count)]
        self._running: list[tuple[Ended, _Worker]] = []
        self._loss_ratio = loss_ratio
        self._random = random.Random(seed)

    @property
    def idle(self) -> int:
        """Workers that wait for a trial."""
        return len(self._idle)

    @property
    def running(self) -> int:
        """Trials that have not ended."""
        return len(self._running)

    def start(self, job: int, row: Row, *, known_accuracy: bool = False) -> None:
        """Gives a trial to an idle worker, to a warm one if there is one.

        Args:
            job: A number to know it by; no two that run may share it.
            row: What it costs.
            known_accuracy: Whether it need not be scored.
        """
        warm = next(
            (w for w in self._idle if row.setup_key and w.setup_key == row.setup_key), None
        )
        worker = warm or self._idle[0]
        self._idle.remove(worker)
        seconds = row.seconds(warm=warm is not None, known_accuracy=known_accuracy)
        lost = self._random.random() < self._loss_ratio
        if lost:
            seconds *= self._random.random()
        failed = row.outcome not in (Outcome.OK, Outcome.INFEASIBLE)
        worker.setup_key = "" if lost or failed else row.setup_key
        ended = Ended(self.now_seconds + seconds, job, seconds, warm is not None, lost)
        heapq.heappush(self._running, (ended, worker))

    def wait(self) -> Ended:
        """Turns the clock to the end of the trial that ends next."""
        ended, worker = heapq.heappop(self._running)
        self.now_seconds = ended.at_seconds
        self._idle.append(worker)
        return ended

    def warm_setup(self) -> str | None:
        """What the worker whose trial ended last has prepared."""
        return (self._idle[-1].setup_key or None) if self._idle else None

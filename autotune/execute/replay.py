"""Trials looked up in a recorded table, on a simulated clock: a search is replayed in seconds."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from autotune import constraints
from autotune.errors import InputError
from autotune.messages import BlockPair, Measurement, Metrics, TrialResult, TrialSpec
from autotune.metrics import METRICS
from autotune.outcome import Outcome
from autotune.tables import Row, Table

_MEASURED = (Outcome.OK, Outcome.INFEASIBLE)


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
        failed = row.outcome not in _MEASURED
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


class ReplayExecutor:
    """Carries trials to simulated workers that know a table by heart.

    ``known_accuracy``, constraints and the keys are those of the trial; a repetition in a fresh
    process is never warm. A recipe that the table does not have is a trial that ends as
    unsupported.
    """

    def __init__(
        self,
        table: Table,
        workers: int = 1,
        *,
        rows: Mapping[str, int] | None = None,
        loss_ratio: float = 0.0,
        seed: int = 0,
    ) -> None:
        """
        Args:
            table: What was measured.
            workers: How many trials run at once.
            rows: Row number by ``recipe_key``; by default the table's own keys.
            loss_ratio: Share of the trials that end as lost, since their worker dies.
            seed: Of these deaths.

        Raises:
            InputError: The table has no keys, and no rows are given.
        """
        if rows is None:
            rows = {row.recipe_key: i for i, row in enumerate(table.rows) if row.recipe_key}
        if not rows:
            raise InputError(
                f"table {table.name} cannot be replayed: it has no column recipe_key; record it "
                "with autotune record"
            )
        self._table = table
        self._rows = rows
        self._slots = workers
        self._workers = SimulatedWorkers(workers, loss_ratio=loss_ratio, seed=seed)
        self._waiting: deque[TrialSpec] = deque()
        self._running: dict[int, tuple[TrialSpec, Row]] = {}

    @property
    def slots(self) -> int:
        """The simulated workers."""
        return self._slots

    @property
    def now_seconds(self) -> float:
        """The simulated clock."""
        return self._workers.now_seconds

    def submit(self, spec: TrialSpec) -> None:
        """Starts a trial, or lets it wait for a worker."""
        self._waiting.append(spec)
        self._start()

    def wait(self) -> TrialResult:
        """The result of the trial that ends next on the simulated clock."""
        ended = self._workers.wait()
        spec, row = self._running.pop(ended.job)
        self._start()
        return _result(spec, row, ended)

    def warm_setup(self) -> str | None:
        """What the worker whose trial ended last has prepared."""
        return self._workers.warm_setup()

    def close(self) -> None:
        """Forgets what has not ended."""
        self._waiting.clear()
        self._running.clear()

    def _start(self) -> None:
        while self._waiting and self._workers.idle:
            spec = self._waiting.popleft()
            row = self._row(spec)
            self._running[spec.number] = spec, row
            known = spec.known_accuracy is not None
            self._workers.start(spec.number, row, known_accuracy=known)

    def _row(self, spec: TrialSpec) -> Row:
        number = self._rows.get(spec.recipe_key)
        row = Row((), Outcome.UNSUPPORTED) if number is None else self._table.rows[number]
        return replace(row, setup_key="" if spec.confirmation else spec.setup_key)


def _result(spec: TrialSpec, row: Row, ended: Ended) -> TrialResult:
    metrics = {} if ended.lost else _metrics(spec, row)
    outcome, explanation = _ending(spec, row, ended, metrics)
    pair = BlockPair(candidate={}, reference={}, candidate_first=True)
    return TrialResult(
        number=spec.number,
        outcome=outcome,
        explanation=explanation,
        metrics=metrics,
        blocks=(pair,) if metrics else (),
        phase_seconds={"replayed": ended.seconds},
        warm=ended.warm,
        accuracy_reused=spec.known_accuracy is not None,
    )


def _metrics(spec: TrialSpec, row: Row) -> Metrics:
    found = {}
    for name, value in row.metrics.items():
        low, high = row.intervals.get(name, (None, None))
        unit = METRICS[name].unit if name in METRICS else ""
        found[name] = Measurement(
            value=value, unit=unit, ci_low=low, ci_high=high, source="recorded"
        )
    return found | (spec.known_accuracy or {}) if found else {}


def _ending(spec: TrialSpec, row: Row, ended: Ended, metrics: Metrics) -> tuple[Outcome, str]:
    if ended.lost:
        return Outcome.LOST, "the simulated worker died"
    if not row.params:
        return Outcome.UNSUPPORTED, "the table has no such recipe"
    if spec.tasks_only:
        return Outcome.UNSUPPORTED, "a table holds no tasks"
    if row.outcome is not Outcome.OK:
        return row.outcome, f"recorded as {row.outcome}"
    broken = constraints.explain(constraints.parse_all(spec.constraints), metrics)
    return (Outcome.INFEASIBLE if broken else Outcome.OK), broken

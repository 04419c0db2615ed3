"""One search on one table: a tuner, simulated workers, and what came of it."""

from __future__ import annotations

import random
import statistics
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from autotune.execute.replay import SimulatedWorkers
from autotune.outcome import Outcome
from autotune.tables import Row, Table, read_table
from benchmarks.search.coverage import Coverage, evaluations_to
from benchmarks.search.pool import PoolTuner
from benchmarks.search.shuffled import ShuffledTuner
from benchmarks.search.stock import SAMPLERS, StockTuner
from benchmarks.search.tuner import Exhausted, Told, Tuner

RANDOM, OURS = "random", "autotune"
STOCK = tuple(SAMPLERS)
TARGETS = (0.95, 0.99)


@dataclass(frozen=True)
class Job:
    """What one process of the benchmark is given."""

    table: Path
    sampler: str
    seed: int
    trials: int
    """At most so many evaluations; random search goes on to the end of the table."""
    workers: int = 1
    loss_ratio: float = 0.0
    default: Literal["first", "random"] = "random"
    """Which row autotune takes for the default: the first that is valid, or any."""


@dataclass(frozen=True)
class Run:
    """What came of it. All lists have one entry for each evaluation, in the order of their end."""

    table: str
    sampler: str
    seed: int
    trials: int
    coverage: list[float]
    """Share of the table's hypervolume so far."""
    seconds: list[float]
    """Simulated wall clock."""
    rows: list[int | None]
    """Which row was chosen; None: none of the table."""
    failed: int
    """Trials that the table says fail; like what follows, of the first ``trials``."""
    lost: int
    """Trials whose worker died."""
    cpu_seconds_per_suggestion: float
    """Of asking and telling."""

    def reached(self, target: float) -> int | None:
        """How many evaluations it took to that share."""
        return evaluations_to(self.coverage, target)

    def reached_seconds(self, target: float) -> float | None:
        """The same in simulated seconds."""
        found = self.reached(target)
        return None if found is None else self.seconds[found - 1]

    @property
    def final(self) -> float:
        """The share after as many trials as every sampler had."""
        return self.coverage[min(self.trials, len(self.coverage)) - 1]

    @property
    def counted(self) -> list[int | None]:
        """The rows of so many trials."""
        return self.rows[: self.trials]

    @property
    def duplicates(self) -> int:
        """How many of them were chosen before."""
        chosen = [row for row in self.counted if row is not None]
        return len(chosen) - len(set(chosen))

    @property
    def invalid(self) -> int:
        """How many of them the table does not have."""
        return self.counted.count(None)


def make_tuner(job: Job, table: Table) -> Tuner:
    """The tuner that a job names."""
    if job.sampler == RANDOM:
        return ShuffledTuner(table, job.seed)
    if job.sampler != OURS:
        return StockTuner(job.sampler, table, job.seed, job.workers)
    valid = [i for i, row in enumerate(table.rows) if row.valid]
    first = valid[0] if job.default == "first" else random.Random(job.seed).choice(valid)
    return PoolTuner(table, job.seed, first)


@cache
def _loaded(path: Path) -> tuple[Table, Coverage]:
    table = read_table(path)
    return table, Coverage(table)


def replay(job: Job) -> Run:
    """Runs one search."""
    table, coverage = _loaded(job.table)
    tuner = make_tuner(job, table)
    limit = len(table.rows) if job.sampler == RANDOM else job.trials
    replayed = _Replay(table, tuner, job)
    begun = time.process_time()
    replayed.run(limit)
    cpu = time.process_time() - begun
    measured = [None if t.lost else t.row for t in replayed.told]
    counted = replayed.told[: job.trials]
    return Run(
        table=table.name,
        sampler=job.sampler,
        seed=job.seed,
        trials=job.trials,
        coverage=coverage.history(measured),
        seconds=replayed.ends,
        rows=[t.row for t in replayed.told],
        failed=sum(t.row is not None and not table.rows[t.row].valid for t in counted),
        lost=sum(t.lost for t in counted),
        cpu_seconds_per_suggestion=cpu / max(1, len(replayed.told)),
    )


class _Replay:
    """The loop: every idle worker gets a trial, then the one that ends next is told."""

    def __init__(self, table: Table, tuner: Tuner, job: Job) -> None:
        self._table = table
        self._tuner = tuner
        self._workers = SimulatedWorkers(job.workers, loss_ratio=job.loss_ratio, seed=job.seed)
        self._known: set[str] = set()
        """Every ``output_key`` whose accuracy has been measured."""
        self._running: dict[int, int | None] = {}
        self._absent = absent_row(table)
        self.told: list[Told] = []
        self.ends: list[float] = []

    def run(self, limit: int) -> None:
        """So many trials, fewer where the tuner has no more."""
        job = 0
        while True:
            while self._workers.idle and job < limit:
                try:
                    row = self._tuner.ask(self._workers.warm_setup())
                except Exhausted:
                    limit = job
                    break
                self._start(job, row)
                job += 1
            if not self._workers.running:
                return
            self._finish()

    def _start(self, job: int, number: int | None) -> None:
        self._running[job] = number
        row = self._absent if number is None else self._table.rows[number]
        self._workers.start(job, row, known_accuracy=row.output_key in self._known)

    def _finish(self) -> None:
        ended = self._workers.wait()
        number = self._running.pop(ended.job)
        told = Told(number, ended.seconds, ended.warm, ended.lost)
        if number is not None and not ended.lost and self._table.rows[number].valid:
            self._known |= {self._table.rows[number].output_key} - {""}
        self._tuner.tell(told)
        self.told.append(told)
        self.ends.append(ended.at_seconds)


def absent_row(table: Table) -> Row:
    """What it costs to try a configuration that the table does not have: the median of those that
    failed; where none did, of what preparing takes."""
    failed = [row.phase_seconds for row in table.rows if not row.valid and row.phase_seconds]
    costs = [sum(seconds.values()) for seconds in failed] or [
        row.phase_seconds["prepare"] for row in table.rows if "prepare" in row.phase_seconds
    ]
    phases = {"prepare": statistics.median(costs)} if costs else {}
    return Row((), Outcome.UNSUPPORTED, phase_seconds=phases)

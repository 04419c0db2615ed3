"""What a study has measured so far, as far as a search that goes on needs it."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from autotune.constraints import Constraint
from autotune.costs import floor_of
from autotune.front.screen import cost_columns, may_lead
from autotune.messages import Metrics
from autotune.outcome import Lesson, Outcome, lesson
from autotune.recipe import Recipe
from autotune.search.budget import Clock
from autotune.search.features import Rows
from autotune.search.observation import HALF_WIDTH, Observations
from autotune.search.plan import Plan
from autotune.search.pool_code import Mask
from autotune.search.spending import POWER
from autotune.store.finished import MetricColumn
from autotune.store.records import TrialRecord
from autotune.store.store import Store


@contextmanager
def without_collecting() -> Iterator[None]:
    """Keeps Python from looking for garbage meanwhile: among very many new objects of which all
    are used, that takes as long as the rest."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class Past:
    """The finished trials of a study in columns, the baseline first, the others as they came; and
    whole only those that may be on its front: of many thousands they are a few hundred."""

    def __init__(self, plan: Plan, store: Store) -> None:
        """
        Args:
            plan: Of the study.
            store: Where its trials are.
        """
        limited = [limit.metric for limit in plan.constraints]
        power = [POWER] if plan.study.budget.kwh is not None else []
        names = tuple(dict.fromkeys([*plan.objectives, *limited, plan.memory, *power]))
        self._plan = plan
        self.trials = store.finished_trials(plan.name, names)
        self._columns = {name: _Column(found) for name, found in self.trials.metrics.items()}
        numbers = self.trials.numbers
        first = numbers[:1] if numbers and not self.trials.recipes[0] else ()
        self.baseline: TrialRecord | None = next(
            iter(store.trials(plan.name, only=first) if first else ()), None
        )
        """None as long as it has no result."""
        window = plan.study.budget.patience_trials
        latest = numbers[-window - 1 :] if window else ()
        wanted = {*first, *self._leading(), *self.trials.repeated, *latest}
        self.whole = store.trials(plan.name, blocks=False, only=wanted) if wanted else []
        """By number: those that may be on the front or were repeated, and the latest, in which
        the front may have grown. What they have left behind stays behind."""

    @property
    def recipes(self) -> list[Recipe]:
        """Of each finished trial."""
        return [Recipe.from_dict(recipe) for recipe in self.trials.recipes]

    @property
    def outcomes(self) -> Counter[Outcome]:
        """How many trials ended how."""
        return Counter(self.trials.outcomes)

    @property
    def baseline_metrics(self) -> Metrics | None:
        """Of the baseline's trial; None as long as it has no result."""
        if self.baseline is None or self.baseline.result is None:
            return None
        return self.baseline.result.metrics

    def count(self, clock: Clock) -> None:
        """Counts the trials against the study's budget.

        Raises:
            AutotuneError: Their energy is to be counted and cannot be.
        """
        if self.baseline is None or self.baseline.result is None:
            return
        gpus = np.array([self._plan.gpus(recipe) for recipe in self.trials.recipes], dtype=float)
        sums = [sum(s.values()) - s.get("lock", 0.0) for s in self.trials.phase_seconds]
        known = self._columns.get(POWER)
        watts = known.value if known else np.full(len(gpus), np.nan)
        clock.spent.add(self.baseline.result, int(gpus[0]))
        clock.spent.add_all(np.array(sums)[1:], gpus[1:], watts[1:])
        if clock.patience:
            whole = {trial.number: trial for trial in self.whole}
            clock.patience.take_up(whole.get(number) for number in self.trials.numbers)

    def observations(self) -> Observations:
        """What a sampler learns of them."""
        outcomes = self.trials.outcomes
        failed = _flags(lesson(outcome) is Lesson.REJECT for outcome in outcomes)
        held = ~failed
        for limit in self._plan.constraints:
            held &= self._keeps(limit)
        return Observations(
            {name: (found.value, found.errors) for name, found in self._columns.items()},
            failed=failed,
            lost=_flags(outcome is Outcome.LOST for outcome in outcomes),
            feasible=held,
            warm=_flags(self.trials.warm),
            out_of_memory=_flags(outcome is Outcome.OUT_OF_MEMORY for outcome in outcomes),
            phase_seconds=self.trials.phase_seconds,
        )

    def _keeps(self, limit: Constraint) -> Mask:
        found = self._columns[limit.metric]
        kept = found.high <= limit.bound if limit.is_upper else found.low >= limit.bound
        return np.asarray(kept)

    def _leading(self) -> list[int]:
        """Numbers of the trials that may be on the front."""
        metrics = self.baseline_metrics or {}
        columns = {name: self._columns[name] for name in self._plan.objectives}
        costs = np.array(
            [
                cost_columns(name, c.value, c.low, c.high, floor_of(name, metrics))
                for name, c in columns.items()
            ]
        ).swapaxes(0, 1)
        feasible = _flags(outcome is Outcome.OK for outcome in self.trials.outcomes)
        repeated = _flags(number in self.trials.repeated for number in self.trials.numbers)
        # What the baseline's process shares is the machine's doing.
        shared = set(self.trials.fallbacks[0]) if self.baseline else set()
        doubtful = repeated | _flags(not shared.issuperset(f) for f in self.trials.fallbacks)
        for column in columns.values():
            doubtful |= column.disturbed
        leads = may_lead(costs, feasible & ~doubtful) & feasible
        return [self.trials.numbers[i] for i in np.flatnonzero(leads).tolist()]


class _Column:
    """One metric of all trials; NaN where one has no value."""

    def __init__(self, found: MetricColumn) -> None:
        value, low, high = (np.array(part, dtype=np.float64) for part in found[:3])
        value[~np.isfinite(value)] = np.nan
        self.value, self.low, self.high = value, low, high
        self.disturbed = _flags(found.disturbed)
        self.errors: Rows = (high - low) / (2 * HALF_WIDTH)


def _flags(values: Iterable[bool]) -> Mask:
    return np.array(list(values), dtype=bool)

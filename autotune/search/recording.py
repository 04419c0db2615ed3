"""A study's trials as a recorded table."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from autotune.messages import Measurement, TrialResult
from autotune.metrics import METRICS, Direction
from autotune.outcome import Lesson, Outcome, lesson
from autotune.recipe import Recipe
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.store.records import TrialRecord
from autotune.tables import Objective, Row, Table

_NO_COST = "lock"
"""The phase in which a trial waits for the device: no property of the recipe."""


@dataclass(frozen=True)
class Recording:
    """A table, and what a person should know of it."""

    table: Table
    notes: tuple[str, ...] = ()


def recorded(plan: Plan, trials: Sequence[TrialRecord]) -> Recording:
    """The finished trials of a plan as a table.

    Its params are those that vary in the pool; one that is inactive in a recipe has its default.
    A trial that reused a prepared process or a known accuracy is given what these cost the
    trial that paid for them.

    Args:
        plan: Of the study.
        trials: The study's, in the order of their numbers.
    """
    code = PoolCode(plan.pool.recipes, plan.registry.plugins)
    ended = [(trial, trial.result) for trial in trials if trial.result is not None]
    costs = _Costs(ended)
    rows, notes = [], []
    for trial, result in ended:
        recipe = Recipe.from_dict(trial.recipe)
        if code.index(recipe) is None:  # of another run, which named it (try_first)
            notes.append(f"trial {trial.number} is left out: {recipe} is not in the pool")
            continue
        missing = _unmeasured(plan.objectives, result)
        if missing and result.outcome is Outcome.OK:
            notes.append(f"trial {trial.number} is left out: {missing}")
            continue
        if result.fallbacks:
            notes.append(f"trial {trial.number} fell back: {'; '.join(result.fallbacks)}")
        flat = code.flat(recipe)
        rows.append(_row(trial, result, tuple(flat.values()), costs))
    objectives = tuple(
        Objective(name, METRICS[name].direction is Direction.MAXIMIZE) for name in plan.objectives
    )
    table = Table(plan.name, tuple(code.names), objectives, tuple(rows))
    return Recording(table, tuple(notes))


def _row(
    trial: TrialRecord, result: TrialResult, params: tuple[str | int | float, ...], costs: _Costs
) -> Row:
    measured = lesson(result.outcome) is Lesson.VALUES
    found = {n: m for n, m in result.metrics.items() if measured and _value(m) is not None}
    return Row(
        params=params,
        outcome=result.outcome,
        metrics={name: m.value for name, m in found.items() if m.value is not None},
        intervals={
            name: (m.ci_low, m.ci_high)
            for name, m in found.items()
            if m.ci_low is not None and m.ci_high is not None
        },
        phase_seconds=costs.of(trial, result),
        recipe_key=trial.recipe_key,
        setup_key=trial.setup_key,
        output_key=trial.output_key,
    )


def _value(measured: Measurement | None) -> float | None:
    value = None if measured is None else measured.value
    return value if value is not None and math.isfinite(value) else None


def _unmeasured(objectives: Sequence[str], result: TrialResult) -> str:
    """The objectives without a value, in words; empty if there are none."""
    found = {name: result.metrics.get(name) for name in objectives}
    return "; ".join(
        f"{name} was not measured" + (f": {m.reason}" if m and m.reason else "")
        for name, m in found.items()
        if _value(m) is None
    )


class _Costs:
    """What each phase would cost a trial that finds nothing prepared and nothing known."""

    def __init__(self, ended: Sequence[tuple[TrialRecord, TrialResult]]) -> None:
        self._prepare: dict[str, list[float]] = {}
        self._score: dict[str, list[float]] = {}
        for trial, result in ended:
            seconds = result.phase_seconds
            if "prepare" in seconds and not result.warm:
                self._prepare.setdefault(trial.setup_key, []).append(seconds["prepare"])
            if "score" in seconds:
                self._score.setdefault(trial.output_key, []).append(seconds["score"])

    def of(self, trial: TrialRecord, result: TrialResult) -> dict[str, float]:
        """By phase; a cost that nobody has paid in this study is left as it was."""
        seconds = {n: s for n, s in result.phase_seconds.items() if n != _NO_COST}
        if result.warm and trial.setup_key in self._prepare:
            seconds["prepare"] = statistics.median(self._prepare[trial.setup_key])
        if result.accuracy_reused and trial.output_key in self._score:
            seconds["score"] = statistics.median(self._score[trial.output_key])
        return seconds

"""Which trial is exported, and why one cannot be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from autotune.dispatch.measure import refuse_device_settings
from autotune.dispatch.table import Point
from autotune.errors import InputError
from autotune.export.files import Numbers
from autotune.front import FrontPoint, confirmed_metrics, study_spreads
from autotune.messages import Metrics, RecipeDict, TrialResult
from autotune.plugin import Plugin
from autotune.report.summary import StudySummary
from autotune.space import processes_of
from autotune.store.records import TrialRecord


@dataclass(frozen=True)
class Chosen:
    """A trial that can be exported."""

    name: str
    """As it was asked for."""
    point: FrontPoint
    numbers: Numbers
    against_baseline: str
    """What it gains and costs, in words."""

    @property
    def recipe(self) -> RecipeDict:
        """What runs."""
        return self.point.recipe


def choose(summary: StudySummary, name: str, plugins: Mapping[str, Plugin]) -> Chosen:
    """Finds a trial by its pick, as ``baseline``, by its number or by an expression.

    Args:
        summary: The study.
        name: What is asked for.
        plugins: All that are installed.

    Raises:
        InputError: There is none, it has no numbers, or no directory could run as it did.
    """
    _refuse_unmeasured(summary, name)
    point = summary.choose(name)
    what = f"trial {point.number} cannot be exported faithfully"
    if point.fallbacks:
        raise InputError(
            f"{what}: it ran otherwise than its recipe asks ({'; '.join(point.fallbacks)})"
        )
    if absent := sorted(point.recipe.keys() - plugins.keys()):
        raise InputError(f"{what}: plugins not installed here: {', '.join(absent)}")
    asked = Point(name=name, number=point.number, recipe=point.recipe, accuracy={})
    refuse_device_settings((asked,), plugins, "choose another with --pick")
    count = processes_of(point.recipe, plugins).count
    if count > 1:
        raise InputError(
            f"{what}: {count} processes run its model together, and a directory holds the model "
            "of one; choose another trial, or serve this one with autotune.load(dispatch.json)"
        )
    return Chosen(name, point, _numbers(summary, point), summary.against_baseline(point))


def _refuse_unmeasured(summary: StudySummary, name: str) -> None:
    trials = {str(trial.number): trial for trial in summary.trials}
    trial = trials.get(name.lstrip("#"))
    if trial is None or trial.number in summary.by_number:
        return
    if trial.result is None:
        raise InputError(f"trial {trial.number} is still running; export it when it has ended")
    raise InputError(
        f"trial {trial.number} has no numbers to export: {trial.result.outcome}: "
        f"{trial.result.explanation}; autotune pareto {summary.study.name} lists those that have"
    )


def _numbers(summary: StudySummary, point: FrontPoint) -> Numbers:
    trial = next(trial for trial in summary.trials if trial.number == point.number)
    assert trial.result is not None
    baseline = summary.baseline.metrics if summary.baseline else {}
    return Numbers(
        metrics=point.metrics,
        one_process=_of_one_process(summary, trial, trial.result, baseline),
        baseline=baseline,
        objectives=summary.study.objectives,
        tasks=point.tasks,
        notes=trial.result.notes,
    )


def _of_one_process(
    summary: StudySummary, trial: TrialRecord, result: TrialResult, baseline: Metrics
) -> Metrics:
    spreads, before = study_spreads(summary.trials), list(trial.confirmations.values())
    own = baseline if trial.recipe else None
    return confirmed_metrics(result.metrics, before, own, spreads, again=1)

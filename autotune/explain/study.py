"""A study's records → its explanation."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.constraints import Constraint, parse_all
from autotune.explain.effects import MetricEffects, all_choices, alone
from autotune.explain.failures import group_failures, suspects
from autotune.explain.limits import exclusions, nearest_miss
from autotune.explain.records import Ending, Explanation
from autotune.explain.words import answer
from autotune.front import FrontPoint, front_points
from autotune.messages import TASK_RUN
from autotune.store.records import StudyRecord, TrialRecord


def explain(study: StudyRecord, trials: Sequence[TrialRecord], state: str = "") -> Explanation:
    """What a study has taught, from what it measured.

    Args:
        study: The study.
        trials: All its trials; those that run or failed among them.
        state: What it does now; by default what its record says.
    """
    limits = parse_all(study.constraints)
    return explain_points(study, trials, front_points(trials, limits), state)


def explain_points(
    study: StudyRecord,
    trials: Sequence[TrialRecord],
    points: Sequence[FrontPoint],
    state: str = "",
) -> Explanation:
    """As ``explain``, for whom has the points of the trials already."""
    limits = parse_all(study.constraints)
    baseline = next((p.metrics for p in points if p.is_baseline), {})
    names = _metrics(study, limits)
    seen = [MetricEffects(name, points, baseline) for name in names]
    choices = all_choices(points)
    feasible = sum(point.feasible for point in points)
    found = Explanation(
        study=study.name,
        answer=(),
        metrics=names,
        fits=tuple(metric.fit() for metric in seen),
        effects=tuple(effect for metric in seen for effect in metric.effects(choices)),
        alone=tuple(alone(points, baseline, names)),
        shares=tuple(share for metric in seen for share in metric.shares()),
        failures=group_failures(trials),
        suspects=suspects(trials),
        exclusions=exclusions(points, limits),
        feasible=feasible,
        nearest_miss=None if feasible else nearest_miss(points, limits),
        ending=_ending(study, trials, state),
    )
    return found.model_copy(update={"answer": answer(found)})


def _metrics(study: StudyRecord, limits: Sequence[Constraint]) -> tuple[str, ...]:
    """The objectives, and what else is constrained."""
    return tuple(dict.fromkeys((*study.objectives, *(limit.metric for limit in limits))))


def _ending(study: StudyRecord, trials: Sequence[TrialRecord], state: str) -> Ending:
    results = [trial.result for trial in trials if trial.result]
    again = [r for t in trials for n, r in t.confirmations.items() if n != TASK_RUN]
    return Ending(
        state=state or study.state.value,
        reason=study.convergence_reason,
        trials=len(trials),
        finished=len(results),
        trial_seconds=sum(result.device_seconds for result in results),
        repetitions=len(again),
        repetition_seconds=sum(result.device_seconds for result in again),
    )

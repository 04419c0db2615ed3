"""The points of a study: each measured trial with the numbers that it is shown with, those of its
repetitions in fresh processes where there are any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from autotune import constraints
from autotune.constraints import Constraint
from autotune.costs import FLOORS
from autotune.front.dominance import FrontPoint
from autotune.front.repetitions import (
    CONFIRMED_RATIO,
    CONFIRMED_UNPAIRED,
    confirmed_metrics,
    process_spreads,
    usable,
)
from autotune.front.tasks import task_metrics, task_scores
from autotune.messages import CONFIRMED, TASK_RUN, Metrics, RecipeDict, TrialResult
from autotune.outcome import Lesson, Outcome, lesson
from autotune.statistics import Spread


class Trial(Protocol):
    """A trial as it is stored."""

    @property
    def number(self) -> int: ...
    @property
    def recipe(self) -> RecipeDict: ...
    @property
    def result(self) -> TrialResult | None: ...
    @property
    def confirmations(self) -> Mapping[int, TrialResult]: ...


def front_points(
    trials: Sequence[Trial], limits: Sequence[Constraint] = ()
) -> tuple[FrontPoint, ...]:
    """The measured trials with their headline numbers, feasible or not.

    Args:
        trials: Of one study; those that failed or still run have no point.
        limits: The study's constraints: a trial that keeps them in the search and not in fresh
            processes is infeasible.
    """
    measured = [t for t in trials if t.result and lesson(t.result.outcome) is Lesson.VALUES]
    spreads = study_spreads(measured)
    own = next((t for t in measured if not t.recipe), None)
    baseline = _headline(own, None, spreads) if own else None
    # What the baseline's process shares (fewer CPU instructions, say) is the machine's doing.
    shared = fallbacks_of(own) if own else ()
    # The baseline's own noise is that of every comparison with it.
    floors = {n: baseline[n] for n in FLOORS.values() if baseline and n in baseline}
    points = []
    for trial in measured:
        assert trial.result is not None
        metrics = _headline(trial, baseline if trial.recipe else None, spreads)
        violation = _violation(trial, metrics, limits)
        points.append(
            FrontPoint(
                trial.number,
                trial.recipe,
                metrics | floors,
                trial.result.outcome is Outcome.OK and not violation,
                tuple(words for words in fallbacks_of(trial) if words not in shared),
                task_scores(trial.confirmations),
                violation,
            )
        )
    return tuple(points)


def study_spreads(trials: Sequence[Trial]) -> Mapping[str, Spread]:
    """How much fresh processes of one recipe differ, over all recipes of a study.

    Args:
        trials: Of one study.
    """
    return process_spreads(
        (trial.result, list(trial.confirmations.values())) for trial in trials if trial.result
    )


def _violation(trial: Trial, metrics: Metrics, limits: Sequence[Constraint]) -> str:
    """Which constraint a trial that kept it in the search breaks in fresh processes."""
    again = [result for number, result in trial.confirmations.items() if number != TASK_RUN]
    stopped = [r for r in again if r.outcome is Outcome.INFEASIBLE and not r.blocks]
    if stopped:
        return stopped[0].explanation
    return constraints.explain(limits, metrics) if usable(again) else ""


def fallbacks_of(trial: Trial) -> tuple[str, ...]:
    """What ran otherwise than asked, in the search or in any repetition; each once.

    Args:
        trial: Finished or not.
    """
    results = [trial.result, *(again for _, again in sorted(trial.confirmations.items()))]
    return tuple(dict.fromkeys(words for r in results if r for words in r.fallbacks))


def is_confirmed(point: FrontPoint) -> bool:
    """Whether its headline comes from fresh processes."""
    stats = (CONFIRMED, CONFIRMED_RATIO, CONFIRMED_UNPAIRED)
    return any(m.stat in stats for m in point.metrics.values())


def _headline(trial: Trial, baseline: Metrics | None, spreads: Mapping[str, Spread]) -> Metrics:
    assert trial.result is not None
    again = [result for _, result in sorted(trial.confirmations.items())]
    found = confirmed_metrics(trial.result.metrics, again, baseline, spreads)
    return found | task_metrics(trial.confirmations)

"""Everything that a report shows, for programs."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from autotune.explain import Explanation, explain_points
from autotune.front import FrontPoint, fallbacks_of, is_confirmed
from autotune.messages import Metrics, RecipeDict
from autotune.report.front_file import FrontFile, front_file
from autotune.report.page_data import progress
from autotune.report.summary import StudySummary, words
from autotune.store import TrialRecord


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Trial(_Part):
    """One trial, measured or not."""

    number: int
    """From 0, the baseline, on."""
    recipe: RecipeDict
    """Plugin → its params; empty for the baseline."""
    words: str
    """The recipe for a person."""
    outcome: str
    """``ok``, ``infeasible`` (outside a constraint), how it failed, ``running``, or
    ``not_finished`` where nobody runs the study any more."""
    feasible: bool
    """Whether it was measured and keeps every constraint, in fresh processes too."""
    front: bool
    """Whether no other beats it beyond noise."""
    picks: tuple[str, ...]
    """What it is picked as."""
    confirmed: bool
    """Whether its numbers come from fresh processes."""
    explanation: str
    """Why it failed, or what broke a constraint."""
    notes: tuple[str, ...]
    """What a person should know."""
    fallbacks: tuple[str, ...]
    """What ran otherwise than asked; such a trial is never a pick."""
    metrics: Metrics
    """Metric → value, 95 % interval, ratio to the baseline and how it was taken; empty for a trial
    without numbers."""
    log: str
    """The log of its bench process."""
    started_at: datetime
    """UTC; of its latest attempt."""
    finished_at: datetime | None
    """UTC; null for one that has no result."""


class Progress(_Part):
    """The hypervolume after each measured trial."""

    x: tuple[float, ...]
    """Trial numbers, or minutes since the first trial began."""
    y: tuple[float, ...]
    """The share of the space that is covered, 0 to 1."""


class ReportFile(_Part):
    """The whole file."""

    front: FrontFile
    """What ``front.json`` holds: the study, its objectives, constraints, picks and front."""
    trials: tuple[Trial, ...]
    """Every trial, by number."""
    explanation: Explanation
    """What ``autotune explain --json`` prints: effects, failures, what constraints exclude."""
    progress: dict[str, Progress]
    """By ``trials`` and by ``minutes``."""


def report_file(summary: StudySummary) -> ReportFile:
    """Builds what ``autotune report --format json`` writes.

    Args:
        summary: The study.
    """
    return ReportFile(
        front=front_file(summary),
        trials=tuple(
            _trial(summary, trial, summary.by_number.get(trial.number)) for trial in summary.trials
        ),
        explanation=explain_points(summary.study, summary.trials, summary.points, summary.state),
        progress={over: Progress(**found) for over, found in progress(summary).items()},
    )


def _trial(summary: StudySummary, trial: TrialRecord, point: FrontPoint | None) -> Trial:
    result = trial.result
    return Trial(
        number=trial.number,
        recipe=trial.recipe,
        words=words(trial),
        outcome=summary.outcome(trial),
        feasible=point is not None and point.feasible,
        front=trial.number in summary.front_numbers,
        picks=tuple(summary.pick_names.get(trial.number, ())),
        confirmed=point is not None and is_confirmed(point),
        explanation=summary.explanations.get(trial.number, ""),
        notes=result.notes if result else (),
        fallbacks=fallbacks_of(trial),
        metrics=point.metrics if point else {},
        log=result.log if result else "",
        started_at=trial.started_at,
        finished_at=trial.finished_at,
    )

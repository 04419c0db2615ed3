"""What every report shows, computed once from the records of a study."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

from autotune import roof
from autotune.constraints import parse_all
from autotune.front import (
    Candidates,
    Choices,
    FrontPoint,
    HypervolumeScale,
    against_baseline,
    bounds_of,
    choose,
    front,
    front_points,
    hypervolume_history,
    is_confirmed,
    picks,
    ties,
    unpicked,
)
from autotune.messages import Grade
from autotune.metrics import Direction, Family, Metric, metric
from autotune.outcome import Lesson, Outcome, lesson
from autotune.recipe import describe
from autotune.report import format
from autotune.report.roof import device_rates
from autotune.store import StudyRecord, StudyState, TrialRecord
from autotune.traffic import Traffic

WEIGHTS = "weights_bytes"
TASKS = "task_accuracy"

_DISTURBED_BASELINE = (
    "the baseline was too disturbed (grade C): every ratio rests on it; stop what else runs on "
    "the machine and search again under another --name"
)
_CONFIRMING = "the result is still being confirmed: until that is over, picks may change"
_STOPPED_CONFIRMING = (
    "the search was stopped before the whole result was confirmed: picks may change when it goes "
    "on with --resume"
)


@dataclass(frozen=True)
class StudySummary:
    """One study, ready to be shown. Build it with ``StudySummary.of``."""

    study: StudyRecord
    trials: tuple[TrialRecord, ...]
    """By number, running ones included."""
    points: tuple[FrontPoint, ...]
    """The measured trials, feasible or not."""
    front: tuple[FrontPoint, ...]
    """Best value of the first objective first."""
    baseline: FrontPoint | None
    scale: HypervolumeScale
    hypervolumes: tuple[float, ...]
    """After each of ``points``."""
    picks: dict[str, FrontPoint]
    state: str
    """What the study does now, in words."""

    @classmethod
    def of(cls, study: StudyRecord, trials: Iterable[TrialRecord], state: str = "") -> Self:
        """Computes the front, the picks and the progress of a study.

        Args:
            study: The study.
            trials: All its trials; none, or only failed ones, are fine.
            state: What it does now (``autotune.store.state``); by default what its record says.
        """
        by_number = tuple(sorted(trials, key=lambda trial: trial.number))
        points = front_points(by_number, parse_all(study.constraints))
        baseline = next((point for point in points if point.is_baseline), None)
        scale = HypervolumeScale.of(
            baseline.metrics if baseline else {}, study.objectives, bounds_of(study.constraints)
        )
        best = front(points, study.objectives)
        return cls(
            study=study,
            trials=by_number,
            points=points,
            front=tuple(_best_first(best, study.objectives)),
            baseline=baseline,
            scale=scale,
            hypervolumes=tuple(hypervolume_history(points, scale)),
            picks=picks(best, study.objectives, scale, baseline=baseline, among=_among(study)),
            state=state or study.state.value,
        )

    @property
    def objectives(self) -> tuple[Metric, ...]:
        """The objectives, as metrics."""
        return tuple(metric(name) for name in self.study.objectives)

    @cached_property
    def columns(self) -> tuple[Metric, ...]:
        """What a table shows of each trial: the objectives, the weights beside the memory, and
        the accuracy of tasks where they were run."""
        judged = any(point.value(TASKS) is not None for point in self.points)
        tasks = (metric(TASKS),) if judged else ()
        if WEIGHTS in self.study.objectives:
            return (*self.objectives, *tasks)
        memory = [i for i, k in enumerate(self.objectives) if k.family is Family.MEMORY]
        place = memory[-1] + 1 if memory else len(self.objectives)
        return (*self.objectives[:place], metric(WEIGHTS), *self.objectives[place:], *tasks)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know before trusting any number."""
        own = self.baseline.metrics if self.baseline else {}
        found = (own.get(name) for name in self.study.objectives)
        disturbed = any(one is not None and one.grade is Grade.C for one in found)
        return (
            *((_DISTURBED_BASELINE,) if disturbed else ()),
            *((self._unconfirmed,) if self.is_confirming else ()),
        )

    @property
    def _unconfirmed(self) -> str:
        return _CONFIRMING if self.is_running else _STOPPED_CONFIRMING

    @property
    def is_running(self) -> bool:
        """Whether somebody runs the study."""
        return self.state == StudyState.RUNNING

    def outcome(self, trial: TrialRecord) -> str:
        """How a trial ended, by ``Outcome``'s names; one without a result is ``running``, or
        ``not_finished`` where nobody runs the study any more.

        Args:
            trial: One of its trials.
        """
        if trial.result is not None:
            return trial.result.outcome.value
        return "running" if self.is_running else "not_finished"

    @property
    def is_confirming(self) -> bool:
        """Whether trials are being confirmed, or were when the study was stopped."""
        begun = any(map(is_confirmed, self.points))
        return begun and _among(self.study) is Candidates.MEASURED

    @property
    def model(self) -> str:
        """What the user called the model."""
        return str(self.study.definition.get("model") or "unknown model")

    @property
    def device(self) -> str:
        """The device's name, else what the study asked for."""
        asked = self.study.definition.get("device")
        return self.study.environment.get("device") or str(asked or "unknown device")

    @property
    def traffic(self) -> str:
        """What the requests were, the share that repeats among it; empty where they were alike."""
        workload = self.study.definition.get("workload") or {}
        if not (given := workload.get("traffic")):
            return ""
        traffic = Traffic.model_validate(given)
        return traffic.in_words(workload["prompt_tokens"], workload["new_tokens"])

    @property
    def lengths(self) -> str:
        """Of prompts and answers, in words; empty where the record does not say."""
        workload = self.study.definition.get("workload") or {}
        if not {"prompt_tokens", "new_tokens"} <= workload.keys():
            return ""
        prompt, new = workload["prompt_tokens"], workload["new_tokens"]
        return f"prompts of {prompt} tokens and answers of {new}"

    @property
    def hypervolume(self) -> float:
        """The share of the reachable space that is covered so far."""
        return self.hypervolumes[-1] if self.hypervolumes else 0.0

    @cached_property
    def by_number(self) -> dict[int, FrontPoint]:
        """Trial number → its point; failed trials have none."""
        return {point.number: point for point in self.points}

    @cached_property
    def explanations(self) -> dict[int, str]:
        """Trial number → why it failed, or what broke a constraint, in fresh processes too."""
        own = {trial.number: trial.result.explanation for trial in self.trials if trial.result}
        return own | {p.number: p.violation for p in self.points if p.violation}

    @cached_property
    def front_numbers(self) -> frozenset[int]:
        """Trial numbers on the front."""
        return frozenset(point.number for point in self.front)

    @cached_property
    def pick_names(self) -> dict[int, list[str]]:
        """Trial number → its picks."""
        names: dict[int, list[str]] = {}
        for pick, point in self.picks.items():
            names.setdefault(point.number, []).append(pick)
        return names

    @cached_property
    def ties(self) -> dict[str, tuple[int, ...]]:
        """Pick → trials of the front that cannot be told from it in what it was picked for."""
        return ties(self.picks, self.front, self.study.objectives, _among(self.study))

    def ties_in_words(self, pick: str) -> str:
        """``not to be told from #3, #9 among the confirmed``; empty where it stands alone."""
        numbers = ", ".join(f"#{number}" for number in self.ties.get(pick, ()))
        only = not self.is_confirming and any(map(is_confirmed, self.front))
        among = " among the confirmed" if only else ""
        return f"not to be told from {numbers}{among}" if numbers else ""

    @property
    def unpicked_in_words(self) -> str:
        """``No fastest: …``, for each pick that is missing; empty if none is."""
        missing = unpicked(self.picks, self.front, self.study.objectives, _among(self.study))
        told = (f"No {pick.replace('_', ' ')}: {why}." for pick, why in missing.items())
        return " ".join(told)

    @cached_property
    def failures(self) -> dict[Outcome, list[TrialRecord]]:
        """Trials that brought no numbers, by outcome, the most frequent first."""
        found: dict[Outcome, list[TrialRecord]] = {}
        for trial in self.trials:
            if trial.result and lesson(trial.result.outcome) is Lesson.REJECT:
                found.setdefault(trial.result.outcome, []).append(trial)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    def choose(self, text: str) -> FrontPoint:
        """The point that a text asks for: a pick, a trial's number, ``baseline`` or an expression.

        Raises:
            InputError: See ``autotune.front.choose``.
        """
        choices = Choices(
            self.points, self.study.objectives, self.picks, self.baseline, _among(self.study)
        )
        return choose(text, choices)

    def ratio(self, point: FrontPoint, name: str) -> str:
        """A point's metric over the baseline's, as tables show it; empty for the baseline itself.

        Args:
            point: One of its points.
            name: The metric.
        """
        if point.is_baseline or self.baseline is None:
            return ""
        return format.ratio(name, point.metrics.get(name), self.baseline.metrics.get(name))

    def against_baseline(self, point: FrontPoint) -> str:
        """What a point gains and costs, in words."""
        if point.is_baseline:
            return "the baseline itself"
        reference = self.baseline.metrics if self.baseline else {}
        return against_baseline(point.metrics, reference, self.study.objectives)

    def bounds(self, point: FrontPoint) -> str:
        """What bounds each pass of a point; empty where the roof was not measured."""
        return roof.what_bounds(point.metrics, self.baseline.metrics if self.baseline else {})

    @property
    def device_rates(self) -> str:
        """The device's measured rates; empty where there are none."""
        return device_rates(self.baseline.metrics) if self.baseline else ""


def words(point: FrontPoint | TrialRecord) -> str:
    """The recipe in words."""
    return describe(point.recipe)


def _among(study: StudyRecord) -> Candidates:
    """Numbers that stand, once the study is over; before, nobody knows which will."""
    over = study.state is StudyState.FINISHED
    return Candidates.CONFIRMED if over else Candidates.MEASURED


def _best_first(points: Sequence[FrontPoint], objectives: Sequence[str]) -> list[FrontPoint]:
    first = objectives[0]
    sign = -1 if metric(first).direction is Direction.MAXIMIZE else 1

    def key(point: FrontPoint) -> tuple[float, int]:
        value = point.value(first)
        return (math.inf if value is None else sign * value, point.number)

    return sorted(points, key=key)

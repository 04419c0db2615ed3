"""One study as the dashboard shows it: computed once for each change of its record."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from autotune.constraints import parse_all
from autotune.dashboard import notes
from autotune.explain import Explanation, explain
from autotune.figures import effects_figure, front_figure, pairs, parallel_figure, progress_figure
from autotune.figures.chart import chart_data
from autotune.metrics import Metric
from autotune.report import format
from autotune.report.csv_file import csv_text
from autotune.report.summary import StudySummary, words
from autotune.store.records import StudyRecord, TrialRecord

_SAY_ALL = ("ratio", "1/s")
"""Units that a label says already."""


class StudyView:
    """What is shown of a study and of its trials. Nothing of it is kept in the database."""

    def __init__(self, study: StudyRecord, trials: Sequence[TrialRecord], state: str = "") -> None:
        """
        Args:
            study: The study.
            trials: All its trials.
            state: What it does now (``autotune.store.state``); by default what its record says.
        """
        self.summary = StudySummary.of(study, trials, state)
        self.trials = {trial.number: trial for trial in trials}
        self._limits = parse_all(study.constraints)
        self._units = [self._unit(kind) for kind in self.summary.objectives]
        self._notes: dict[int, str] = {}
        self._told: dict[int, dict[str, str]] = {}

    def _unit(self, kind: Metric) -> tuple[float, str]:
        """By what an objective's values are divided, and what they are called then. It is the
        unit that suits the search's own baseline: it stays when other trials come."""
        result = next((t.result for t in self.trials.values() if not t.recipe and t.result), None)
        found = result.metrics.get(kind.name) if result else None
        value = found.value if found else None
        factor, unit = format.scale(kind.unit, value) if value else (1.0, kind.unit)
        shown = unit or ("" if kind.unit in _SAY_ALL else kind.unit)
        named = f"{kind.label} ({shown})" if shown and shown not in _SAY_ALL else kind.label
        return factor, f"{named} {format.arrow(kind)}"

    @cached_property
    def explanation(self) -> Explanation:
        """What the study has taught."""
        return explain(self.summary.study, self.summary.trials, self.summary.state)

    @cached_property
    def note(self) -> str:
        """Of the study, in Markdown."""
        return notes.study_note(self.summary, self.explanation)

    @property
    def objective_names(self) -> list[str]:
        """With units, and which way is better."""
        return [name for _, name in self._units]

    @cached_property
    def plots(self) -> list[dict[str, str]]:
        """Our figures, as optuna-dashboard takes them."""
        chart = chart_data(self.summary)
        measured = [axis["name"] for axis in chart["axes"]]
        objectives = [name for name in self.summary.study.objectives if name in measured]
        found = [
            (f"front-{x}-{y}", front_figure(self.summary, x, y, chart))
            for x, y in pairs(objectives)
        ]
        found += [
            ("effects", effects_figure(self.explanation)),
            ("parallel", parallel_figure(self.summary)),
            ("progress", progress_figure(self.summary)),
        ]
        return [{"id": name, "graph_object": json.dumps(figure)} for name, figure in found]

    @cached_property
    def importances(self) -> list[list[dict[str, Any]]]:
        """For each objective, the share of its variance that goes with each plugin, as
        optuna-dashboard takes them; the largest first."""
        found = [share for share in self.explanation.shares if not share.param]
        found.sort(key=lambda share: -share.share)
        kind = "CategoricalDistribution"
        return [
            [
                {"name": share.plugin, "importance": share.share, "distribution": kind}
                for share in found
                if share.metric == name
            ]
            for name in self.summary.study.objectives
        ]

    def csv(self, numbers: Collection[int]) -> str:
        """Some trials as a table.

        Args:
            numbers: Of the trials.
        """
        trials = tuple(t for t in self.summary.trials if t.number in numbers)
        return csv_text(replace(self.summary, trials=trials))

    def trial_note(self, number: int) -> str:
        """Of one trial, in Markdown."""
        if number not in self._notes:
            self._notes[number] = notes.trial_note(self.summary, self.trials[number])
        return self._notes[number]

    def is_known(self, number: int) -> bool:
        """Whether the trial's result was there when this was computed."""
        return number in self.trials and self.trials[number].result is not None

    def has_failed(self, number: int) -> bool:
        """Whether a finished trial gave no numbers: what Optuna was told of it is made up."""
        return number not in self.summary.by_number

    def values(self, number: int, told: Sequence[float]) -> list[float]:
        """The objectives of a measured trial in the units of ``objective_names``.

        Args:
            number: Of the trial.
            told: What Optuna has, in the metrics' own units: it stands in for an objective that
                was not measured. Else the headline is shown, of the repetitions if there are any.
        """
        point = self.summary.by_number[number]
        found = [point.value(name) for name in self.summary.study.objectives]
        shown = zip(found, told, self._units, strict=True)
        return [
            _rounded((theirs if ours is None else ours) / factor)
            for ours, theirs, (factor, _) in shown
        ]

    def violations(self, number: int) -> list[float]:
        """How far a measured trial is outside each constraint: positive where it is, or where an
        objective was not measured."""
        point = self.summary.by_number[number]
        found = [limit.violation(point.metrics) for limit in self._limits]
        whole = all(point.value(name) is not None for name in self.summary.study.objectives)
        inside = point.feasible and whole
        return found if inside or any(value > 0 for value in found) else [*found, 1.0]

    def attributes(self, number: int) -> dict[str, str]:
        """What the table of trials and a trial's page say besides, by heading."""
        if number not in self._told:
            self._told[number] = dict(self._attributes(self.trials[number]))
        return self._told[number]

    @cached_property
    def headings(self) -> list[str]:
        """Of all attributes."""
        return list(dict.fromkeys(name for n in self.trials for name in self.attributes(n)))

    def _attributes(self, trial: TrialRecord) -> Iterator[tuple[str, str]]:
        summary, point = self.summary, self.summary.by_number.get(trial.number)
        yield "recipe", words(trial)
        if trial.result is None:
            return
        yield "outcome", trial.result.outcome.value.replace("_", " ")
        if notes.is_settled(summary) and trial.number in summary.front_numbers:
            yield "front", "yes"
        if picks := notes.picks_of(summary, trial.number):
            yield "picks", picks
        if point:
            yield "against the baseline", summary.against_baseline(point)
            for kind in summary.columns:
                yield kind.label, format.measured(kind.name, point.metrics.get(kind.name))
            if grades := [m.grade for k in summary.columns if (m := point.metrics.get(k.name))]:
                yield "worst grade", max((str(grade) for grade in grades if grade), default="")
        if why := summary.explanations[trial.number]:
            yield "explanation", why


def _rounded(value: float) -> float:
    """The page shows every digit."""
    return float(f"{value:.6g}")

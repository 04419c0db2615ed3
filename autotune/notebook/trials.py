"""A study's trials, one by one and as tables that a notebook shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import overload

from autotune.front import FrontPoint
from autotune.messages import Metrics, RecipeDict
from autotune.report import format
from autotune.report.summary import StudySummary, words
from autotune.store.records import TrialRecord


class Trial:
    """One recipe of a study with what was measured of it."""

    def __init__(self, record: TrialRecord, summary: StudySummary) -> None:
        """
        Args:
            record: The trial.
            summary: Of its study.
        """
        self.record = record
        """Everything that is stored: raw blocks, repetitions, phases, log."""
        self._summary = summary

    @property
    def number(self) -> int:
        """Within its study."""
        return self.record.number

    @property
    def recipe(self) -> RecipeDict:
        """Plugin → params; empty for the baseline."""
        return self.record.recipe

    @property
    def words(self) -> str:
        """The recipe in words."""
        return words(self.record)

    @property
    def outcome(self) -> str:
        """``ok``, ``infeasible``, ``out_of_memory`` and so on; without a result ``running``, or
        ``not_finished`` where nobody runs the study any more."""
        return self._summary.outcome(self.record)

    @property
    def explanation(self) -> str:
        """Why it failed or is infeasible, in fresh processes too."""
        return self._summary.explanations.get(self.number, "")

    @property
    def point(self) -> FrontPoint | None:
        """Its headline numbers; None where nothing was measured."""
        return self._summary.by_number.get(self.number)

    @property
    def metrics(self) -> Metrics:
        """By name; those of its repetitions in fresh processes where there are any."""
        return self.point.metrics if self.point else {}

    @property
    def feasible(self) -> bool:
        """Whether it was measured within every constraint."""
        return self.point is not None and self.point.feasible

    @property
    def is_on_front(self) -> bool:
        """Whether no other trial beats it beyond noise."""
        return self.number in self._summary.front_numbers

    @property
    def picks(self) -> tuple[str, ...]:
        """The named picks that it is."""
        return tuple(self._summary.pick_names.get(self.number, ()))

    @property
    def against_baseline(self) -> str:
        """What it gains and costs, in words."""
        return self._summary.against_baseline(self.point) if self.point else ""

    def value(self, name: str) -> float | None:
        """A metric's value in its unit; None where it was not measured."""
        return self.point.value(name) if self.point else None

    def __repr__(self) -> str:
        told = self.against_baseline or self.explanation
        return f"<Trial {self.number}: {self.words} ({self.outcome}){told and ': ' + told}>"

    def _repr_html_(self) -> str:
        return table_of([self], self._summary)


class Trials(Sequence[Trial]):
    """Some trials of a study."""

    def __init__(self, trials: Iterable[Trial], summary: StudySummary) -> None:
        """
        Args:
            trials: In the order in which they are shown.
            summary: Of their study.
        """
        self._trials = tuple(trials)
        self._summary = summary

    @overload
    def __getitem__(self, index: int) -> Trial: ...
    @overload
    def __getitem__(self, index: slice) -> Trials: ...
    def __getitem__(self, index: int | slice) -> Trial | Trials:
        if isinstance(index, slice):
            return Trials(self._trials[index], self._summary)
        return self._trials[index]

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[Trial]:
        return iter(self._trials)

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._trials)) or "<no trials>"

    def _repr_html_(self) -> str:
        return table_of(self._trials, self._summary)


def table_of(trials: Iterable[Trial], summary: StudySummary) -> str:
    """Trials as an HTML table: recipe, outcome, picks, values with intervals.

    Args:
        trials: Of one study.
        summary: Of that study.
    """
    columns = [f"{kind.label} {format.arrow(kind)}" for kind in summary.columns]
    rows = [
        [
            f"#{trial.number}",
            trial.words,
            ", ".join(pick.replace("_", " ") for pick in trial.picks),
            *(
                format.measured(kind.name, trial.metrics.get(kind.name))
                for kind in summary.columns
            ),
            trial.explanation or trial.outcome.replace("_", " "),
        ]
        for trial in trials
    ]
    return html_table(["trial", "recipe", "picks", *columns, "outcome"], rows)


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose cells are text: nothing in them is read as HTML."""
    return f"<table>{_row('th', head)}{''.join(_row('td', row) for row in rows)}</table>"


def _row(kind: str, cells: Sequence[str]) -> str:
    shown = (f'<{kind} style="text-align:left">{escape(cell)}</{kind}>' for cell in cells)
    return f"<tr>{''.join(shown)}</tr>"

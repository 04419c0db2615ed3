"""A study as a notebook sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune import figures
from autotune.explain import Explanation, explain
from autotune.front import PICKS
from autotune.launch.place import Place
from autotune.notebook.frame import data_frame
from autotune.notebook.trials import Trial, Trials, html_table, table_of
from autotune.report.html import sentences, write_html
from autotune.report.summary import StudySummary
from autotune.store.records import StudyRecord, TrialRecord

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure

_MOST_SHOWN = 20


class Study:
    """A study and its trials as they were when it was opened; open it again to see more."""

    def __init__(
        self, record: StudyRecord, trials: Sequence[TrialRecord], place: Place, state: str = ""
    ) -> None:
        """
        Args:
            record: The study.
            trials: All its trials.
            place: Where it is kept.
            state: What it does now (``autotune.store.state``); by default what its record says.
        """
        self.record = record
        """Everything that is stored of the study itself: definition, environment, notes."""
        self.summary = StudySummary.of(record, trials, state)
        """What every report shows."""
        self.place = place
        self.trials = Trials((Trial(t, self.summary) for t in self.summary.trials), self.summary)
        """All, by number; those that failed or run among them."""
        self._by_number = {trial.number: trial for trial in self.trials}

    @property
    def name(self) -> str:
        """In the database."""
        return self.record.name

    @property
    def state(self) -> str:
        """``running``, ``interrupted``, ``finished``, or that its process died."""
        return self.summary.state

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of metrics."""
        return self.record.objectives

    @property
    def front(self) -> Trials:
        """What no other trial beats beyond noise; best value of the first objective first."""
        return self._trials(point.number for point in self.summary.front)

    @property
    def baseline(self) -> Trial | None:
        """The recipe that changes nothing; None where it was not measured."""
        found = self.summary.baseline
        return None if found is None else self._by_number[found.number]

    @property
    def picks(self) -> dict[str, Trial]:
        """Pick → trial: ``fastest``, ``smallest``, ``balanced`` and so on."""
        named = self.summary.picks
        return {pick: self._by_number[named[pick].number] for pick in PICKS if pick in named}

    def pick(self, text: str) -> Trial:
        """One trial, by whatever names it.

        Args:
            text: A pick (``balanced``), a trial's number, ``baseline``, or an expression such as
                ``max output_tokens_per_second where kld_mean_nats<0.05``.

        Raises:
            InputError: It cannot be read, or nothing qualifies; then the nearest miss is told.
        """
        return self._by_number[self.summary.choose(text).number]

    def _trials(self, numbers: Iterable[int]) -> Trials:
        return Trials((self._by_number[number] for number in numbers), self.summary)

    def to_dataframe(self) -> pandas.DataFrame:
        """All trials as a table of pandas; see ``autotune.notebook.frame.data_frame``."""
        return data_frame(self.trials)

    @cached_property
    def _explanation(self) -> Explanation:
        return explain(self.record, self.summary.trials, self.state)

    def explain(self) -> Explanation:
        """What the study has taught: ``answer`` in sentences, and every effect."""
        return self._explanation

    def plot_front(self, x: str | None = None, y: str | None = None) -> Figure:
        """Every measured trial by two metrics, with intervals and picks.

        Args:
            x: Metric of the horizontal axis; by default the second objective.
            y: Of the vertical one; by default the first objective.

        Raises:
            InputError: A metric is no column of the study, or was not measured.
        """
        first, second = (*self.objectives, *self.objectives)[:2]
        return _figure(figures.front_figure(self.summary, x or second, y or first))

    def plot_progress(self) -> Figure:
        """How the front grew with the trials."""
        return _figure(figures.progress_figure(self.summary))

    def plot_parallel(self) -> Figure:
        """A line for each trial through its plugins and objectives."""
        return _figure(figures.parallel_figure(self.summary))

    def plot_effects(self) -> Figure:
        """What each plugin gave and cost."""
        return _figure(figures.effects_figure(self._explanation))

    def report(self, path: str | Path) -> Path:
        """Writes the report: one HTML file that opens offline.

        Args:
            path: The file; its folder must exist.

        Returns:
            The path.
        """
        write_html(self.summary, Path(path))
        return Path(path)

    def __repr__(self) -> str:
        told = " ".join(sentences(self.summary))
        picks = "".join(f"\n  {pick}: {trial!r}" for pick, trial in self.picks.items())
        return f"<Study {self.name}, {self.state}: {told}{picks}>"

    def _repr_html_(self) -> str:
        told = [" ".join(sentences(self.summary)), *self.summary.warnings]
        picks = [
            (pick.replace("_", " "), f"#{t.number}", t.words, t.against_baseline)
            for pick, t in self.picks.items()
        ]
        shown, more = self.front[:_MOST_SHOWN], len(self.front) - _MOST_SHOWN
        parts = [
            f"<h3>{escape(self.name)} ({self.state})</h3>",
            *(f"<p>{escape(text)}</p>" for text in told),
            html_table(("pick", "trial", "recipe", "against the baseline"), picks),
            "<h4>Front</h4>",
            table_of(shown, self.summary),
            f"<p>and {more} more: study.front</p>" if more > 0 else "",
        ]
        return "".join(parts)


def _figure(drawn: dict[str, Any]) -> Figure:
    from plotly.graph_objects import Figure

    return Figure(drawn)

"""Whoever wants to watch a search."""

from __future__ import annotations

from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.search.budget import Clock
from autotune.search.past import Past
from autotune.search.plan import Plan
from autotune.store.records import StudyRecord, TrialRecord


class Observer:
    """Told what happens; every method may be left out. ``on_progress`` comes from another
    thread."""

    def on_started(self, plan: Plan, past: Past, clock: Clock) -> None:
        """The search begins, or goes on after past trials; the clock has counted them."""

    def on_trial_started(self, spec: TrialSpec) -> None:
        """A trial was handed to the executor."""

    def on_progress(self, progress: Progress) -> None:
        """A running trial entered a phase."""

    def on_trial_finished(self, study: StudyRecord, trial: TrialRecord) -> None:
        """A result was stored."""

    def on_confirming(self, count: int) -> None:
        """The search is over; so many repetitions in fresh processes follow."""

    def on_confirmed(self, result: TrialResult, left: int) -> None:
        """A repetition was stored."""

    def on_judging(self, count: int) -> None:
        """The study's tasks follow, for so many outputs."""

    def on_judged(self, result: TrialResult, left: int) -> None:
        """A run of the tasks was stored."""

    def on_stopped(self, reason: str, begun: int) -> None:
        """The search has stopped; ``begun`` trials were run since it was started or resumed."""

"""The front of a search that goes on, as far as it may end later trials early."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.costs import ends
from autotune.front import FrontPoint, RunningFront, bounds_of, front_points
from autotune.messages import Grade, Metrics, Rivals
from autotune.search.plan import Plan
from autotune.store.records import TrialRecord

MOST = 24
"""Rivals that travel with a trial: with four objectives they are six kilobytes."""


class RivalFront:
    """Takes trials as they finish and keeps the objectives of those on the front: of its values
    none that is missing or of grade C, and no trial that ran otherwise than asked."""

    def __init__(self, plan: Plan) -> None:
        self._limits = plan.constraints
        self._objectives = plan.objectives
        self._front = RunningFront(plan.objectives, bounds_of(plan.study.constraints))
        self._baseline: TrialRecord | None = None
        self._rivals: Rivals = {}

    def take(self, trials: Sequence[TrialRecord]) -> None:
        """Takes finished trials in; the baseline is the first, or among the first.

        What a trial measured in the search counts, not its repetitions: like the trials that it
        is compared with, it was measured against the baseline of the search. They may show that
        it breaks a constraint, or ran otherwise than asked.

        Args:
            trials: Those that still run are left out.
        """
        own = next((t for t in trials if not t.recipe and t.result), None)
        self._baseline = self._baseline or own
        if self._baseline is None:
            return
        others = [t for t in trials if t.recipe]
        results = {t.number: t.result.metrics for t in trials if t.result}
        points = front_points([self._baseline, *others], self._limits)
        for point in points if own else points[1:]:
            self._add(point, point.metrics | results[point.number])

    def _add(self, point: FrontPoint, searched: Metrics) -> None:
        measured = [searched.get(name) for name in self._objectives]
        sound = [m for m in measured if m and m.value is not None and m.grade is not Grade.C]
        rival = FrontPoint(
            point.number,
            point.recipe,
            searched,
            point.feasible and not point.fallbacks and len(sound) == len(measured),
        )
        if self._front.add(rival):
            self._rivals[point.number] = {
                name: (value, *ends(searched[name], value))
                for name in self._objectives
                if (value := searched[name].value) is not None
            }
        left = set(self._front.numbers)
        self._rivals = {n: values for n, values in self._rivals.items() if n in left}

    def rivals(self) -> Rivals:
        """What a trial that is submitted now races against. Of more than ``MOST``, those are taken
        that are evenly spread along the first objective, both ends included: to leave one out ends
        fewer trials, and none wrongly."""
        if len(self._rivals) <= MOST:
            return dict(self._rivals)
        ordered = sorted(self._rivals, key=lambda n: self._rivals[n][self._objectives[0]])
        step = (len(ordered) - 1) / (MOST - 1)
        chosen = [ordered[round(i * step)] for i in range(MOST)]
        return {number: self._rivals[number] for number in chosen}

"""When a trial need not be measured to its end: a look after each pair of blocks.

A trial is over once a limit on speed is surely broken, or once a rival surely dominates it: a
trial of the front when this one was submitted. The rule is that of the front, stricter where a
number is not final yet: a rival must be at least as good in every objective, and better beyond
noise in one.

- Speed is known by its interval only: the worse end of the rival's must be at least as good as the
  better end of the trial's, which is wide enough for all looks together (``autotune.looks``), and
  where several speeds are looked at they share the error. So a trial whose true speed is better
  than the worse end of every rival's is ended with a probability of ``looks.ERROR`` at most,
  however many rivals there are: while its own interval holds, none of them can end it.
- Memory is a peak and can only grow: what it is before the blocks is a bound from below.
- Weights, accuracy and cold costs are final before the blocks.
- Energy and percentiles are known by nothing before the end, and might save the trial: where one
  of them is an objective, no trial is raced. Idle power is no bound of energy: whatever else ran
  on the machine while it was taken is in it.

Nor is one raced that the baseline does not run beside: its interval holds no drift.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

from autotune import looks
from autotune.costs import FLOORS, cost
from autotune.execute.paired import speed_metrics
from autotune.execute.trial import TrialUnderWay
from autotune.messages import BlockPair, Measurement, Metrics
from autotune.metrics import METRICS, Family

ENDED_EARLY = "ended early"
"""How the note of a trial that a rival has ended begins."""


def wants_peaks(trial: TrialUnderWay) -> bool:
    """Whether the peaks so far can end the trial, by a limit or in a race."""
    spec = trial.spec
    if not spec.recipe or spec.confirmation:
        return False
    memory = [name for name in spec.objectives if METRICS[name].family is Family.MEMORY]
    return bool(trial.limited(Family.MEMORY)) or bool(memory and _has_rivals(trial))


def _has_rivals(trial: TrialUnderWay) -> bool:
    return trial.spec.settings.racing and bool(trial.spec.rivals)


class Looks:
    """Those of one trial. Begin them when everything but the blocks is known."""

    def __init__(self, trial: TrialUnderWay) -> None:
        self.notes: list[str] = []
        """Why it ended, if a rival has ended it."""
        self._trial = trial
        spec = trial.spec
        timed = {name for name in spec.objectives if METRICS[name].family is Family.SPEED}
        known = all(name in trial.metrics or name in timed for name in spec.objectives)
        self._raced = known and _has_rivals(trial) and not trial.alone
        judged = trial.limited(Family.SPEED) | (timed if self._raced else set())
        self._can_end = bool(spec.recipe) and (self._raced or bool(judged))
        self._middle = partial(
            looks.median_interval,
            first=spec.settings.min_pairs,
            last=spec.settings.max_pairs,
            error=looks.ERROR / max(1, len(judged)),
        )
        self._ended = False

    def lost(self, pairs: Sequence[BlockPair]) -> bool:
        """Whether what was measured so far shows that the trial is out."""
        if not self._can_end:
            return False
        found = self._looked(pairs)
        self._ended = self._trial.is_violated(found)
        if not self._ended and self._raced:
            self.notes = self._beaten(found, len(pairs))
            self._ended = bool(self.notes)
        return self._ended

    def metrics(self, pairs: Sequence[BlockPair]) -> Metrics:
        """The trial's speeds. An interval that has ended it is the one that allows for looks."""
        if self._ended:
            found = self._looked(pairs)
            if all(m.high is not None and math.isfinite(m.high) for m in found.values()):
                return found
            # What ended it was no speed: so early no interval of one allows for looks.
        spec = self._trial.spec
        return speed_metrics(pairs, spec.baseline, spec.settings)

    def _looked(self, pairs: Sequence[BlockPair]) -> Metrics:
        spec = self._trial.spec
        return speed_metrics(pairs, spec.baseline, spec.settings, self._middle)

    def _beaten(self, timed: Metrics, pairs: int) -> list[str]:
        spec = self._trial.spec
        for number, values in spec.rivals.items():
            better = self._better(_measurements(values), timed)
            if better:
                return [
                    f"{ENDED_EARLY} after {pairs} pairs: trial {number} is at least as good in "
                    f"everything and better in {', '.join(better)}"
                ]
        return []

    def _better(self, rival: Metrics, timed: Metrics) -> list[str]:
        """In what a rival is better beyond noise; nothing if it might be worse in something."""
        baseline = self._trial.spec.baseline or {}
        floors = {name: baseline[name] for name in FLOORS.values() if name in baseline}
        mine = self._trial.metrics | timed | floors
        better = []
        for name in self._trial.spec.objectives:
            if name not in mine or name not in rival:
                return []
            theirs, own = cost(name, rival | floors), cost(name, mine)
            if theirs.beats(own):
                better.append(name)
            elif theirs.high > own.low if name in timed else theirs.value > own.value:
                return []
        return better


def _measurements(values: Mapping[str, tuple[float, float, float]]) -> Metrics:
    return {
        name: Measurement(value=value, unit=METRICS[name].unit, ci_low=low, ci_high=high)
        for name, (value, low, high) in values.items()
    }

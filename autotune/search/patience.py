"""Whether the front still grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from autotune.constraints import Constraint
from autotune.front import RunningFront, bounds_of, front_points
from autotune.store.records import TrialRecord


class Patience:
    """Follows the hypervolume of the front, on the study's own scale (``front/hypervolume.py``),
    over the latest trials. What it keeps does not grow with the number of trials."""

    def __init__(
        self,
        trials: int,
        growth_ratio: float,
        objectives: Sequence[str],
        constraints: Sequence[Constraint],
    ) -> None:
        """
        Args:
            trials: How many finished trials may pass, failed ones among them.
            growth_ratio: By more than this share of itself the hypervolume has to grow in them.
            objectives: Of the study.
            constraints: Of the study.
        """
        self._trials = trials
        self._growth_ratio = growth_ratio
        self._constraints = constraints
        self._front = RunningFront(objectives, bounds_of(map(str, constraints)))
        self._baseline: TrialRecord | None = None
        self._volumes: deque[float] = deque(maxlen=trials + 1)

    def add(self, trial: TrialRecord) -> None:
        """Takes a finished trial in; the baseline comes first, the others as they finished."""
        if not trial.recipe:
            self._baseline = trial
        shown = {t.number: t for t in (self._baseline, trial) if t is not None}
        points = front_points(list(shown.values()), self._constraints)
        volume = self._volumes[-1] if self._volumes else 0.0
        for point in points:
            if point.number == trial.number and self._front.add(point):
                # A point may go that is better by less than its metric resolves.
                volume = max(volume, self._front.hypervolume())
        self._volumes.append(volume)

    def take_up(self, trials: Iterable[TrialRecord | None]) -> None:
        """Takes the trials of earlier runs in, as they finished; None stands for one that cannot
        be on the front."""
        for trial in trials:
            if trial is not None:
                self.add(trial)
            else:
                self._volumes.append(self._volumes[-1] if self._volumes else 0.0)

    def describe(self) -> str:
        """The limit in words."""
        return f"{self._trials} trials in which the front grows by no more than {self._percent}"

    @property
    def reason(self) -> str:
        """Why the search stops; empty while the front grows, or too few trials are finished."""
        if len(self._volumes) <= self._trials:
            return ""
        before, now = self._volumes[0], self._volumes[-1]
        if now > before * (1 + self._growth_ratio):
            return ""
        return (
            f"patience: the hypervolume went from {before:.4f} to {now:.4f} in the last "
            f"{self._trials} trials, no more than {self._percent} up"
        )

    @property
    def _percent(self) -> str:
        return f"{100 * self._growth_ratio:g} %"

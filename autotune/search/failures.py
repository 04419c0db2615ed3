"""Which recipes will probably fail, learnt from those that did and from the others' memory."""

from __future__ import annotations

import numpy as np

from autotune.search.features import Features, Rows
from autotune.search.observation import Observations
from autotune.search.pool_code import Integers, Mask
from autotune.search.surrogates import Surrogate
from autotune.surrogate.failure import FailureModel, learnt_from

_RISK_AT_FIRST, _RISK_IN_BUDGET, _RISK_BEYOND = 0.5, 0.2, 0.1
"""Of failing; what is likelier to is chosen only when nothing else is left."""
_LEARNING_TRIALS = 20
"""So many trials may find out by failing where the border lies, near which the best often is."""
_FAILURE_BUDGET = 0.02
"""Of the later trials."""
_LEAST_KNOWN = 4
"""Of fewer peaks it is not told how memory grows."""
_UNKNOWN_PEAK = 0.3
"""Standard error, on a log scale, of the peak of a trial that ran out of memory."""


class Failures:
    """Learns from every trial that has ended. Those that ran show how much memory they took, and
    what ran out of it took no less: the peak that is expected of a recipe tells most of whether
    it will fit, long before many have failed."""

    def __init__(self, features: Features, memory: str | None = None) -> None:
        """
        Args:
            features: The pool in columns.
            memory: The metric that is a trial's peak of memory, if trials tell one.
        """
        self._features = features
        self._memory = memory
        self._failed: dict[int, bool] = {}
        """Whether each recipe that has ended can be no point of a front: it failed, or has no
        value of some objective."""
        self._ran = Surrogate(features)
        """Logarithms of the peaks of trials that ran."""
        self._all = Surrogate(features)
        """The same, and what trials that ran out of memory are taken to have needed."""
        self._peaks: list[float] = []
        self._burst: list[int] = []
        """Recipes that ran out of memory."""

    def learn(self, indices: Integers, seen: Observations, hopeless: Mask) -> None:
        """Takes trials in.

        Args:
            indices: Of their recipes in the pool, ``[n]``.
            seen: What came of them.
            hopeless: Which of them can be no point of a front, ``[n]``.
        """
        told = ~seen.lost
        places = indices[told].tolist()
        self._failed.update(zip(places, hopeless[told].tolist(), strict=True))
        self._burst += indices[seen.out_of_memory].tolist()
        if self._memory is None or self._memory not in seen.values:
            return
        peaks, _ = seen.values[self._memory]
        ran = ~seen.failed & (peaks > 0)
        for model in (self._ran, self._all):
            model.learn(indices[ran], np.log(peaks[ran]))
        self._peaks += np.log(peaks[ran]).tolist()

    def likely_to_work(self, candidates: Integers) -> Integers:
        """Leaves out what has failed in similar recipes; if all would, the likeliest are left."""
        if not any(self._failed.values()):
            return candidates
        kept = learnt_from(len(self._failed))  # of others no peak need be expected
        seen = np.array(list(self._failed), dtype=np.intp)[kept]
        failed = np.array(list(self._failed.values()))[kept]
        both = np.concatenate([seen, candidates])
        rows = np.column_stack([self._features.rows(both), self._expected_peaks(both)])
        chance = FailureModel(rows[: len(seen)], failed).chance(rows[len(seen) :])
        return np.asarray(candidates[chance <= max(self._risk(), chance.min())])

    def _expected_peaks(self, indices: Integers) -> Rows:
        """Evenly from 0 for the smallest peak that was measured to 1 for the largest, ``[n, 1]``;
        no column where too little is known."""
        if len(self._peaks) < _LEAST_KNOWN or not self._burst:
            return np.zeros((len(indices), 0))
        low, top = min(self._peaks), max(self._peaks)
        burst = np.array(self._burst, dtype=np.intp)
        needed = np.maximum(self._ran.expect(burst)[0], top)
        self._all.learn(burst, needed, np.full(len(burst), _UNKNOWN_PEAK))
        expected = (self._all.expect(indices)[0] - low) / max(top - low, 1e-9)
        return np.asarray(expected[:, None])

    def _risk(self) -> float:
        """How likely to fail a recipe may be, given how much has failed."""
        later = list(self._failed.values())[_LEARNING_TRIALS:]
        if len(self._failed) < _LEARNING_TRIALS:
            return _RISK_AT_FIRST
        within = sum(later) <= _FAILURE_BUDGET * len(later)
        return _RISK_IN_BUDGET if within else _RISK_BEYOND

"""One surrogate for each metric, fed trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.search.features import Features, Rows
from autotune.search.pool_code import Integers
from autotune.surrogate.gaussian_process import GaussianProcess, Kernel

_FIT_ALWAYS_BELOW = 30
_FIT_AFTER_GROWTH = 1.1
"""Hyperparameters settle: they are fitted again once there is a tenth more to learn from."""
_MOST_FITTED = 150
_MOST_KNOWN = 400
"""A prediction takes time with the square of what it rests on."""
_GUARD_FROM = 4
"""Of fewer values it cannot be told whether an earlier study misleads."""
_LEAST_DIFFERENCE = 0.2
"""Between two studies, relative to how much the metric varies: none would be believed for ever."""

_WORTH_A_COLUMN = 2.0
"""Gain in the logarithm of the density of what was measured, under which a column is left out."""

_Seen = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Prior:
    """What an earlier study lets expect of every recipe of the pool."""

    means: Rows
    """``[recipes]``; how they differ counts, their level does not."""
    deviations: Rows
    """``[recipes]``, of what the earlier study did not know."""
    spread: float
    """Standard deviation of what the earlier study measured."""


class Surrogate:
    """What one metric is expected to be for any recipe of the pool. It sees only the params that
    can move the metric: recipes that differ in others are one to it."""

    def __init__(self, features: Features, prior: Prior | None = None) -> None:
        """
        Args:
            features: The columns of the params that can move it.
            prior: From an earlier study. At first this one's difference from it is modelled; once
                it is doubted, it is a column among others, where that foretells what is measured
                clearly better.
        """
        self._seen: dict[int, tuple[float, float]] = {}
        """Recipe → value and standard error."""
        self._cold = _Process(features)
        self._guided = None if prior is None else _Process(_with_prior(features, prior))
        self._warm = None if prior is None else _Process(features, prior)

    @property
    def known(self) -> int:
        """How many recipes it has a value of."""
        return len(self._seen)

    @property
    def typical_error(self) -> float:
        """Median standard error of the values."""
        return float(np.median([error for _, error in self._seen.values()] or [0.0]))

    def learn(self, indices: Integers, values: Rows, errors: Rows | None = None) -> None:
        """Takes values in.

        Args:
            indices: Of the recipes in the pool, ``[n]``.
            values: On the scale that is modelled, ``[n]``.
            errors: Their standard errors, ``[n]``; none: they are exact.
        """
        known = np.zeros(len(values)) if errors is None else errors
        pairs = zip(values.tolist(), known.tolist(), strict=True)
        self._seen.update(zip(indices.tolist(), pairs, strict=True))

    def expect(self, indices: Integers, pending: Sequence[int] = ()) -> tuple[Rows, Rows]:
        """Mean and standard deviation for recipes of the pool.

        Args:
            indices: Which recipes.
            pending: Recipes that are being measured: taken to come as expected, so that what they
                will tell is not asked again (Ginsbourger et al. 2010, "kriging believer").
        """
        process = self._believed()
        seen = dict(self._seen)
        if pending:
            means, _ = process.expect(seen, np.array(pending, dtype=np.intp))
            seen |= {index: (mean, 0.0) for index, mean in zip(pending, means, strict=True)}
        return process.expect(seen, indices)

    @property
    def is_misled(self) -> bool:
        """Whether what is measured is foretold worse with the prior than without."""
        if self._warm is None or len(self._seen) < _GUARD_FROM:
            return False
        return self._warm.foretells(self._seen) < self._cold.foretells(self._seen)

    def doubt_prior(self) -> None:
        """From now on the prior is no more than one column among others, if it is worth that."""
        self._warm = None

    def _believed(self) -> _Process:
        """The one that foretells each measured value best from the others."""
        believed = self._cold
        if self._warm is not None and not self.is_misled:
            believed = self._warm
        elif self._guided is not None:
            plain = self._cold.foretells(self._seen)
            if self._guided.foretells(self._seen) >= plain + _WORTH_A_COLUMN:
                believed = self._guided
        believed.fit(self._seen)
        return believed


def _with_prior(features: Features, prior: Prior) -> Features:
    """What an earlier study expects as one more column: as far as it tells anything, its length
    will be short."""
    low, width = prior.means.min(), np.ptp(prior.means)
    column = (prior.means - low) / max(float(width), 1e-12)
    matrix = np.column_stack([features.matrix, column.astype(np.float32)])
    return Features(
        matrix,
        np.append(features.columns, matrix.shape[1] - 1).astype(np.intp),
        np.append(features.groups, len(features.params)).astype(np.intp),
        (*features.params, None),
    )


class _Process:
    """A Gaussian process with its hyperparameters, of a metric or of its difference from a
    prior."""

    def __init__(self, features: Features, prior: Prior | None = None) -> None:
        self._features = features
        self._prior = prior
        self._least_spread = 0.0 if prior is None else _LEAST_DIFFERENCE * prior.spread
        self._kernel: Kernel | None = None
        self._fitted_to = 0
        self._seen = -1
        """How many values the hyperparameters were last asked to suit."""
        self._foretold: tuple[int, float] = (-1, 0.0)

    def fit(self, seen: _Seen) -> None:
        """Fits the hyperparameters, if there is enough that is new."""
        if self._seen == len(seen):
            return
        self._seen = len(seen)
        rows, values, _, errors = self._data(seen)
        if len(rows) < _FIT_ALWAYS_BELOW or len(rows) >= _FIT_AFTER_GROWTH * self._fitted_to:
            few = np.linspace(0, len(rows) - 1, min(len(rows), _MOST_FITTED)).astype(np.intp)
            self._kernel = self._process(rows[few], values[few], errors[few], fit=True).kernel
            self._fitted_to = len(rows)

    def foretells(self, seen: _Seen) -> float:
        """How well it foretells each of the better values from all others: the logarithm of their
        density."""
        if self._foretold[0] != len(seen):
            self.fit(seen)
            rows, values, offsets, errors = self._data(seen)
            process = self._process(rows, values, errors, fit=False)
            good = values + offsets <= np.median(values + offsets)
            densities = process.left_out_log_densities()[good]
            self._foretold = len(seen), float(densities.sum())
        return self._foretold[1]

    def expect(self, seen: _Seen, indices: Integers) -> tuple[Rows, Rows]:
        """Mean and standard deviation."""
        rows, values, _, errors = self._data(seen)
        process = self._process(rows, values, errors, fit=False)
        means, deviations = process.predict(self._features.rows(indices))
        if self._prior is None:
            return means, deviations
        means = means + self._prior.means[indices]
        return means, np.hypot(deviations, self._prior.deviations[indices])

    def _process(self, rows: Rows, values: Rows, errors: Rows, *, fit: bool) -> GaussianProcess:
        return GaussianProcess(
            rows,
            values,
            self._features.groups,
            noise=errors,
            kernel=self._kernel,
            fit=fit,
            least_spread=self._least_spread,
        )

    def _data(self, seen: _Seen) -> tuple[Rows, Rows, Rows, Rows]:
        """Each row once, with the mean of what was measured of it less what the prior expects,
        the latter, and the standard error."""
        index = np.array(list(seen), dtype=np.intp)
        index = index[spread_out(len(index), _MOST_KNOWN)]
        pairs = np.array([seen[i] for i in index.tolist()])
        expected = np.zeros(len(index)) if self._prior is None else self._prior.means[index]
        rows, groups = np.unique(self._features.rows(index), axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        count = np.bincount(groups)
        errors = np.sqrt(np.bincount(groups, pairs[:, 1] ** 2)) / count
        offsets = np.bincount(groups, expected) / count
        return rows, np.bincount(groups, pairs[:, 0]) / count - offsets, offsets, errors


def spread_out(count: int, most: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most so many places of a list: the later half of them the last ones, which lie where the
    search is now, and the others evenly among the earlier."""
    if count <= most:
        return np.arange(count)
    latest = most // 2
    earlier = np.linspace(0, count - latest - 1, most - latest).astype(np.intp)
    return np.concatenate([earlier, np.arange(count - latest, count)])

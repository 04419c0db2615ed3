"""One surrogate for each metric, fed trial by trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from autotune.search.features import Features, Rows
from autotune.search.observation import HALF_WIDTH
from autotune.search.pool_code import Integers
from autotune.surrogate.gaussian_process import GaussianProcess, Kernel

_FIT_ALWAYS_BELOW = 30
_FIT_AFTER_GROWTH = 1.1
"""Hyperparameters settle: they are fitted again once there is a tenth more to learn from."""
_MOST_FITTED = 150
_MOST_KNOWN = 400
"""A prediction takes time with the square of what it rests on."""
_LEAST_IN_COMMON = 4
"""Of fewer recipes it cannot be told whether two studies agree."""
_FEW = 30
"""Values, of which it is not yet sure which model foretells them better."""
_MUCH_WORSE, _CLEARLY_BETTER = -5.0, 2.0
"""Least gain in the logarithm of the density of what was measured with which an earlier study is
heeded: as long as there are few values and the two seem to agree; and once they do not."""

_Seen = Mapping[int, tuple[float, float]]


@dataclass(frozen=True)
class Known:
    """What an earlier study measured of one metric."""

    indices: Integers
    """Of recipes of this study's pool, ``[n]``, each once, in the order of their trials."""
    losses: Rows
    """On the scale that is modelled, ``[n]``."""
    errors: Rows
    """Standard errors of these, ``[n]``."""


class Surrogate:
    """What one metric is expected to be for any recipe of the pool. It sees only the params that
    can move the metric: recipes that differ in others are one to it."""

    def __init__(self, features: Features, earlier: Known | None = None) -> None:
        """
        Args:
            features: The columns of the params that can move it.
            earlier: What another study measured of it. Both are modelled together, as long as
                that foretells well what this one measures.
        """
        self._seen: dict[int, tuple[float, float]] = {}
        """Recipe → value and standard error."""
        self._earlier = earlier
        self._alone = _Process(features)
        self._joint = None if earlier is None else _Process(features, earlier)
        self._is_doubted = False

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
    def agreement(self) -> float | None:
        """Spearman's rank correlation of what both studies measured of the same recipes; None:
        they have too few in common, or these do not differ beyond their errors."""
        if self._earlier is None:
            return None
        pairs = np.array(_in_common(self._earlier, self._seen)).reshape(-1, 2)
        if len(pairs) < _LEAST_IN_COMMON:
            return None
        errors = np.array([np.median(self._earlier.errors), self.typical_error])
        if (np.ptp(pairs, axis=0) <= 2 * HALF_WIDTH * errors).any():
            return None
        from scipy.stats import spearmanr  # takes a second, and most searches do without

        return float(spearmanr(*pairs.T).statistic)

    def doubt_earlier(self) -> None:
        """From now on the earlier study is heeded only where it clearly helps."""
        self._is_doubted = True

    def _believed(self) -> _Process:
        """The one that foretells each measured value best from the others."""
        believed = self._alone
        if self._joint is not None:
            gain = self._joint.foretells(self._seen) - self._alone.foretells(self._seen)
            if gain >= self._wanted_gain():
                believed = self._joint
        believed.fit(self._seen)
        return believed

    def _wanted_gain(self) -> float:
        if self._is_doubted:
            return _CLEARLY_BETTER
        return _MUCH_WORSE if len(self._seen) < _FEW else 0.0


def _in_common(earlier: Known, seen: _Seen) -> list[tuple[float, float]]:
    """Pairs of losses, then and now, of recipes that both studies measured."""
    then = zip(earlier.indices.tolist(), earlier.losses.tolist(), strict=True)
    return [(loss, seen[index][0]) for index, loss in then if index in seen]


class _Process:
    """A Gaussian process with its hyperparameters. Where an earlier study is given, the study is
    one more column: its length says how little the one tells of the other, so that a recipe's
    values in both are correlated as if it were another value of a param (the intrinsic model of
    coregionalization of Goovaerts 1997, within the distance)."""

    def __init__(self, features: Features, earlier: Known | None = None) -> None:
        self._features = features
        self._groups = features.groups
        self._earlier = earlier
        self._then: _Merged | None = None
        if earlier is not None:
            self._groups = np.append(features.groups, len(features.params)).astype(np.intp)
            rows = self._rows(earlier.indices, study=0.0)
            self._then = _merged(rows, earlier.losses, earlier.errors)
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
        data, first, _ = self._data(seen)
        count = len(data.rows) - first
        if count < _FIT_ALWAYS_BELOW or count >= _FIT_AFTER_GROWTH * self._fitted_to:
            now = first + _evenly(count, _MOST_FITTED // 2 if first else _MOST_FITTED)
            few = np.concatenate([_evenly(first, _MOST_FITTED - len(now)), now])
            chosen = _Merged(data.rows[few], data.values[few], data.errors[few])
            self._kernel = self._process(chosen, fit=True).kernel
            self._fitted_to = count

    def foretells(self, seen: _Seen) -> float:
        """How well it foretells each of the better values from all others: the logarithm of their
        density."""
        if self._foretold[0] != len(seen):
            self.fit(seen)
            data, first, _ = self._data(seen)
            now = data.values[first:]
            densities = self._process(data, fit=False).left_out_log_densities()[first:]
            self._foretold = len(seen), float(densities[now <= np.median(now)].sum())
        return self._foretold[1]

    def expect(self, seen: _Seen, indices: Integers) -> tuple[Rows, Rows]:
        """Mean and standard deviation."""
        data, _, level = self._data(seen)
        process = self._process(data, fit=False)
        means, deviations = process.predict(self._rows(indices))
        return means + level, deviations

    def _process(self, data: _Merged, *, fit: bool) -> GaussianProcess:
        return GaussianProcess(
            data.rows,
            data.values,
            self._groups,
            noise=data.errors,
            kernel=self._kernel,
            fit=fit,
        )

    def _rows(self, indices: Integers, study: float = 1.0) -> Rows:
        rows = self._features.rows(indices)
        if self._earlier is None:
            return rows
        return np.column_stack([rows, np.full(len(rows), study)])

    def _data(self, seen: _Seen) -> tuple[_Merged, int, float]:
        """What is known, the earlier study's first; where this one's begins, and its level: how
        much higher it is than the other."""
        index = np.array(list(seen), dtype=np.intp)
        index = index[spread_out(len(index), _MOST_KNOWN)]
        pairs = np.array([seen[i] for i in index.tolist()])
        now = _merged(self._rows(index), pairs[:, 0], pairs[:, 1])
        if self._then is None or self._earlier is None:
            return now, 0, 0.0
        then = self._then
        common = _in_common(self._earlier, seen)
        differences = [value - loss for loss, value in common]
        level = np.mean(differences) if common else now.values.mean() - then.values.mean()
        data = _Merged(
            np.vstack([then.rows, now.rows]),
            np.concatenate([then.values, now.values - level]),
            np.concatenate([then.errors, now.errors]),
        )
        return data, len(then.rows), float(level)


class _Merged(NamedTuple):
    """Each row once, with the mean of what was measured of it and its standard error."""

    rows: Rows
    values: Rows
    errors: Rows


def _merged(rows: Rows, values: Rows, errors: Rows) -> _Merged:
    single, groups = np.unique(rows, axis=0, return_inverse=True)
    groups = groups.reshape(-1)
    count = np.bincount(groups)
    means = np.bincount(groups, values) / count
    return _Merged(single, means, np.sqrt(np.bincount(groups, errors**2)) / count)


def _evenly(count: int, most: int) -> Integers:
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def spread_out(count: int, most: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most so many places of a list: the later half of them the last ones, which lie where the
    search is now, and the others evenly among the earlier."""
    if count <= most:
        return np.arange(count)
    latest = most // 2
    earlier = np.linspace(0, count - latest - 1, most - latest).astype(np.intp)
    return np.concatenate([earlier, np.arange(count - latest, count)])

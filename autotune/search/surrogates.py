"""One surrogate for each metric, fed trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from autotune.search.features import Features, Integers, Rows
from autotune.surrogate.gaussian_process import GaussianProcess, Kernel

_FIT_ALWAYS_BELOW = 30
_FIT_AFTER_GROWTH = 1.1
"""Hyperparameters settle: they are fitted again once there is a tenth more to learn from."""
_MOST_FITTED = 150
_MOST_KNOWN = 400
"""A prediction takes time with the square of what it rests on."""


class Surrogate:
    """What one metric is expected to be for any recipe of the pool. It sees only the params that
    can move the metric: recipes that differ in others are one to it."""

    def __init__(self, features: Features) -> None:
        self._rows = features.rows
        self._groups = features.groups
        self._seen: dict[int, tuple[float, float]] = {}
        """Row → value and standard error."""
        self._kernel: Kernel | None = None
        self._fitted_to = 0

    @property
    def known(self) -> int:
        """How many recipes it has a value of."""
        return len(self._seen)

    def learn(self, index: int, value: float, error: float = 0.0) -> None:
        """Takes a value in.

        Args:
            index: Of the recipe in the pool.
            value: On the scale that is modelled.
            error: Its standard error.
        """
        self._seen[index] = (value, error)

    def expect(self, indices: Integers, pending: Sequence[int] = ()) -> tuple[Rows, Rows]:
        """Mean and standard deviation for recipes of the pool.

        Args:
            indices: Which recipes.
            pending: Recipes that are being measured: taken to come as expected, so that what they
                will tell is not asked again (Ginsbourger et al. 2010, "kriging believer").
        """
        process = self._process()
        if pending:
            waiting = np.array(pending, dtype=np.intp)
            means, _ = process.predict(self._rows[waiting])
            process = self._process(list(zip(pending, means.tolist(), strict=True)))
        return process.predict(self._rows[indices])

    def _process(self, believed: Sequence[tuple[int, float]] = ()) -> GaussianProcess:
        rows, values, errors = self._data(believed)
        if not believed and self._is_to_be_fitted(len(rows)):
            few = _spread_out(len(rows), _MOST_FITTED)
            self._kernel = GaussianProcess(
                rows[few], values[few], self._groups, noise=errors[few], kernel=self._kernel
            ).kernel
            self._fitted_to = len(rows)
        return GaussianProcess(
            rows, values, self._groups, noise=errors, kernel=self._kernel, fit=False
        )

    def _is_to_be_fitted(self, count: int) -> bool:
        return count < _FIT_ALWAYS_BELOW or count >= _FIT_AFTER_GROWTH * self._fitted_to

    def _data(self, believed: Sequence[tuple[int, float]]) -> tuple[Rows, Rows, Rows]:
        """Each row once, with the mean of what was measured of it."""
        seen = [(i, *pair) for i, pair in self._seen.items()]
        kept = [seen[i] for i in _spread_out(len(seen), _MOST_KNOWN)]
        kept += [(i, value, 0.0) for i, value in believed]
        index = np.array([i for i, _, _ in kept], dtype=np.intp)
        rows, groups = np.unique(self._rows[index], axis=0, return_inverse=True)
        groups = groups.reshape(-1)
        count = np.bincount(groups)
        values = np.bincount(groups, [v for _, v, _ in kept]) / count
        errors = np.sqrt(np.bincount(groups, [e * e for _, _, e in kept])) / count
        return rows, values, errors


def _spread_out(count: int, most: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    """At most so many places of a list: the later half of them the last ones, which lie where the
    search is now, and the others evenly among the earlier."""
    if count <= most:
        return np.arange(count)
    latest = most // 2
    earlier = np.linspace(0, count - latest - 1, most - latest).astype(np.intp)
    return np.concatenate([earlier, np.arange(count - latest, count)])

"""The pool as a surrogate sees it: columns of numbers, in groups that belong to one param."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.params import Param
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.search.pool_code import Integers, Numbers, PoolCode

Rows = np.ndarray[Any, np.dtype[np.float64]]
Belongs = Callable[[Param], bool]


@dataclass(frozen=True)
class Features:
    """Each recipe of a pool as a row.

    A param whose values have an order is one column, evenly from 0 to 1. Another is one column for
    each value, so that any two values are 1 apart. What plugins estimate of their effect are
    columns too: where it is right, a surrogate need not learn it value by value.
    """

    matrix: Numbers
    """``[recipes, columns]``, of the whole pool: shared by all that see a part of its columns."""
    columns: Integers
    """Those that are seen."""
    groups: Integers
    """For each of them the number of its param."""
    params: tuple[Param | None, ...]
    """The param of each group; None for estimates."""

    def rows(self, recipes: Integers) -> Rows:
        """The columns of some recipes, ``[recipes, columns]``."""
        return self.matrix[np.ix_(recipes, self.columns)].astype(np.float64)

    def of(self, belongs: Belongs) -> Features:
        """The columns of params that can move a metric, and the estimates."""
        kept = [p is None or belongs(p) for p in self.params]
        mine = np.flatnonzero(np.array(kept, dtype=bool)[self.groups])
        numbers = np.cumsum(kept) - 1
        return Features(
            self.matrix,
            self.columns[mine],
            numbers[self.groups[mine]].astype(np.intp),
            tuple(p for p, keep in zip(self.params, kept, strict=True) if keep),
        )


def make_features(code: PoolCode, model_config: Mapping[str, Any] | None = None) -> Features:
    """Codes a pool for surrogates.

    Args:
        code: The pool.
        model_config: The model's ``config.json``, for what plugins estimate; none: no estimates.
    """
    columns: list[Rows] = []
    groups: list[int] = []
    params: list[Param | None] = []
    for name, column in zip(code.names, code.rows.T, strict=True):
        for part in _columns(column.astype(np.float64), code.is_ordered(name)):
            columns.append(part)
            groups.append(len(params))
        params.append(code.param(name))
    for column in _estimates(code, model_config) if model_config is not None else ():
        columns.append(column)
        groups.append(len(params))
        params.append(None)
    matrix = np.zeros((len(code.recipes), len(columns)), dtype=np.float32)
    for i, column in enumerate(columns):
        matrix[:, i] = column
    every = np.arange(len(columns))
    return Features(matrix, every, np.array(groups, dtype=np.intp), tuple(params))


def _columns(column: Rows, ordered: bool) -> list[Rows]:
    values = np.unique(column)
    if ordered or len(values) <= 2:
        return [(column - values[0]) / max(values[-1] - values[0], 1e-12)]
    return [(column == value) / math.sqrt(2) for value in values]


def _estimates(code: PoolCode, model_config: Mapping[str, Any]) -> list[Rows]:
    """Logarithms of the analytic factors, evenly from 0 to 1; those that differ only."""
    factors = _Factors(code.plugins, model_config)
    sums = np.array([factors.logarithms(recipe) for recipe in code.recipes])
    low, spread = sums.min(axis=0), np.ptp(sums, axis=0)
    return [(sums[:, k] - low[k]) / spread[k] for k in range(sums.shape[1]) if spread[k] > 1e-9]


class _Factors:
    """What plugins estimate, asked once for each of their few variants."""

    def __init__(self, plugins: Mapping[str, Plugin], model_config: Mapping[str, Any]) -> None:
        self._plugins = plugins
        self._model_config = model_config
        self._known: dict[Any, tuple[float, ...]] = {}

    def logarithms(self, recipe: Recipe) -> tuple[float, ...]:
        parts = [self._part(part) for part in recipe.choices]
        return tuple(map(sum, zip(*parts, strict=True))) if parts else (0.0, 0.0, 0.0)

    def _part(self, part: Any) -> tuple[float, ...]:
        if part not in self._known:
            found = self._plugins[part[0]].estimate(dict(part[1]), self._model_config)
            factors = (found.weights_bytes, found.flops, found.memory_traffic)
            self._known[part] = tuple(math.log(max(factor, 1e-6)) for factor in factors)
        return self._known[part]

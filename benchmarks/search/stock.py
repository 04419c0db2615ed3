"""Optuna's samplers as a user of Optuna would use them, treated as well as they can be.

- A column of numbers is an integer, its rank among the column's values: every suggestion is on
  the table's grid, in its order, and powers of two are evenly spaced. Two values, texts and
  truth values are categories. A column with one value is no param.
- A trial that failed, or whose configuration is not in the table, is told as complete with the
  worst values seen so far: trials told as failed are ignored, and suggested for ever. All but the
  default TPE also get a violated constraint.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection

from autotune.params import Scalar
from autotune.tables import Table, Values
from benchmarks.search.tuner import Told

MakeSampler = Callable[[int, int], BaseSampler]
"""From seed and number of workers."""

SAMPLERS: dict[str, MakeSampler] = {
    "tpe": lambda seed, workers: optuna.samplers.TPESampler(seed=seed),
    "tpe_multivariate": lambda seed, workers: optuna.samplers.TPESampler(
        seed=seed, multivariate=True, constant_liar=workers > 1
    ),
    "gp": lambda seed, workers: optuna.samplers.GPSampler(seed=seed),
    "nsga2": lambda seed, workers: optuna.samplers.NSGAIISampler(seed=seed),
}
_WITHOUT_CONSTRAINTS = ("tpe",)


class StockTuner:
    """A study in memory that is asked and told."""

    def __init__(self, name: str, table: Table, seed: int, workers: int) -> None:
        self._table = table
        self._index = table.index()
        self._values = [_values(table, i) for i in range(len(table.params))]
        self._distributions = {
            name: _distribution(values)
            for name, values in zip(table.params, self._values, strict=True)
            if len(values) > 1
        }
        self._constrained = name not in _WITHOUT_CONSTRAINTS
        self._pending: dict[int | None, deque[optuna.Trial]] = {}
        self._worst: list[float] | None = None
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with warnings.catch_warnings():
            # Multivariate TPE and the Gaussian process are marked experimental.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = SAMPLERS[name](seed, workers)
        self._study = optuna.create_study(directions=directions(table), sampler=sampler)

    def ask(self, warm_setup: str | None) -> int | None:
        """The row that the suggestion stands for, if the table has it."""
        trial = self._study.ask(self._distributions)
        row = self._index.get(self._configuration(trial))
        self._pending.setdefault(row, deque()).append(trial)
        return row

    def tell(self, told: Told) -> None:
        """Completes the oldest trial of that row."""
        trial = self._pending[told.row].popleft()
        row = None if told.row is None else self._table.rows[told.row]
        measured = row is not None and row.valid and not told.lost
        if self._constrained:
            trial.set_constraint("measured", -1.0 if measured else 1.0)
        if row is not None and measured:
            values = [row.metrics[o.name] for o in self._table.objectives]
            self._worst = worse(self._table, self._worst, values)
        else:
            values = self._worst or [0.0] * len(self._table.objectives)
        self._study.tell(trial, values)

    def _configuration(self, trial: optuna.Trial) -> Values:
        chosen: list[Scalar] = []
        for name, values in zip(self._table.params, self._values, strict=True):
            given = trial.params.get(name, 0)
            ranked = isinstance(self._distributions.get(name), IntDistribution)
            chosen.append(values[given] if ranked or len(values) == 1 else given)
        return tuple(chosen)


def directions(table: Table) -> list[StudyDirection]:
    """Which way each objective is better, in Optuna's words."""
    ways = {True: StudyDirection.MAXIMIZE, False: StudyDirection.MINIMIZE}
    return [ways[objective.maximise] for objective in table.objectives]


def worse(table: Table, worst: list[float] | None, values: list[float]) -> list[float]:
    """The worst values of the objectives, each by itself, so far and now."""
    pairs = zip(table.objectives, worst or values, values, strict=True)
    return [min(a, b) if o.maximise else max(a, b) for o, a, b in pairs]


def _values(table: Table, column: int) -> list[Scalar]:
    """A column's different values, in order."""
    values = {row.params[column] for row in table.rows}
    return sorted(values, key=lambda v: (isinstance(v, str), v))


def _distribution(values: list[Scalar]) -> BaseDistribution:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if numbers and len(values) > 2:
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(values)

"""autotune's own sampler over the pool that a table is: one plugin for each column."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import optuna

from autotune.params import Choice, Float, Int, Param, Scalar, Stage
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.search.pool_code import PoolCode
from autotune.search.sampler import PoolSampler, make_inner
from autotune.tables import Row, Table, Values
from benchmarks.search.stock import directions, worse
from benchmarks.search.tuner import Exhausted, Told


class PoolTuner:
    """The sampler of ``autotune search``, told through a study in memory."""

    def __init__(self, table: Table, seed: int, first: int) -> None:
        """
        Args:
            table: The pool.
            seed: Of every random choice.
            first: The row whose values do nothing; it is measured first.
        """
        self._table = table
        self._rows = [first, *(i for i in range(len(table.rows)) if i != first)]
        plugins = plugins_of(table, table.rows[first])
        self._recipes = [recipe_of(table.rows[i], plugins) for i in self._rows]
        self._code = PoolCode(self._recipes, {p.name: p for p in plugins.values()})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._sampler = PoolSampler(self._code, make_inner("tpe", seed), seed)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(directions=directions(table), sampler=self._sampler)
        self._pending: dict[int, optuna.Trial] = {}
        self._worst: list[float] | None = None
        self._prepared: int | None = None
        """The latest row, if it had to be prepared."""

    def ask(self, warm_setup: str | None) -> int | None:
        """As the loop of a search asks: after a trial that had to prepare, for a sibling."""
        if not self._sampler.left:
            raise Exhausted
        prepared = self._prepared
        warm = prepared is not None and self._table.rows[prepared].setup_key == warm_setup
        place = self._rows.index(prepared) if prepared is not None and warm else None
        self._sampler.warm = None if place is None else self._recipes[place]
        trial = self._study.ask(self._code.distributions)
        index = self._code.index(self._code.recipe(trial.params))
        assert index is not None, "the sampler chooses from the pool"
        self._pending[self._rows[index]] = trial
        return self._rows[index]

    def tell(self, told: Told) -> None:
        """Told as a search's ledger does: a failure is complete, worst and not feasible."""
        assert told.row is not None, "the sampler chooses from the pool"
        row, trial = self._table.rows[told.row], self._pending.pop(told.row)
        measured = row.valid and not told.lost
        self._prepared = told.row if measured and not told.warm else None
        trial.set_constraint("measured", -1.0 if measured else 1.0)
        if measured:
            values = [row.metrics[o.name] for o in self._table.objectives]
            self._worst = worse(self._table, self._worst, values)
        else:
            values = self._worst or [0.0] * len(self._table.objectives)
        self._study.tell(trial, values)


def plugins_of(table: Table, default: Row) -> dict[int, Plugin]:
    """A plugin for each column that varies, with one param ``value``.

    Args:
        table: The table.
        default: The row whose values do nothing.

    Returns:
        By the column's number.
    """
    plugins = {}
    for i, name in enumerate(table.params):
        values = sorted({row.params[i] for row in table.rows}, key=_order)
        if len(values) > 1:
            word = f"p{i}_{re.sub('[^a-z0-9]', '_', name.lower())}"
            param = _param(values, default.params[i], _stage(table, i))
            plugins[i] = _plugin(word, param)
    return plugins


def recipe_of(row: Row, plugins: Mapping[int, Plugin]) -> Recipe:
    """The recipe that a row stands for."""
    given = {plugin.name: {"value": row.params[i]} for i, plugin in plugins.items()}
    return Recipe.of(given, {plugin.name: plugin for plugin in plugins.values()})


def _plugin(word: str, param: Param) -> Plugin:
    declared = {"name": word, "params": {"value": param}, "__doc__": "A column of a table."}
    made: Plugin = type(word, (Plugin,), declared)()
    return made


def _param(values: Sequence[Scalar], default: Scalar, stage: Stage) -> Param:
    """As an author would declare it: numbers as numbers, evenly spaced or doubling."""
    if len(values) == 2 or any(isinstance(v, str | bool) for v in values):
        return Choice(*values, default=default, stage=stage)
    numbers = [float(v) for v in values]
    if all(isinstance(v, int) for v in values):
        log = _is_log(numbers)
        return Int(int(numbers[0]), int(numbers[-1]), default=int(default), log=log, stage=stage)
    step = float(np.diff(numbers).min())
    return Float(numbers[0], numbers[-1], default=float(default), step=step, stage=stage)


def _is_log(numbers: Sequence[float]) -> bool:
    """Whether the ratios of neighbours are more alike than their differences."""
    if numbers[0] <= 0:
        return False
    plain, logs = np.diff(numbers), np.diff(np.log(numbers))
    return bool(logs.std() / logs.mean() < plain.std() / plain.mean())


def _stage(table: Table, column: int) -> Stage:
    """What the recorded keys show: a run param never changes them, and so on."""
    stage = Stage.RUN
    seen: dict[Values, Row] = {}
    for row in table.rows:
        if not row.setup_key or not row.output_key:
            return Stage.MODEL
        rest = row.params[:column] + row.params[column + 1 :]
        other = seen.setdefault(rest, row)
        if row.output_key != other.output_key:
            return Stage.MODEL
        if row.setup_key != other.setup_key:
            stage = Stage.SETUP
    return stage


def _order(value: Scalar) -> tuple[bool, Scalar]:
    return isinstance(value, str), value

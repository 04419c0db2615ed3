"""autotune's own sampler over the pool that a table is: one plugin for each column."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

import numpy as np

from autotune.metrics import METRICS, objective
from autotune.outcome import Outcome
from autotune.params import Choice, Float, Int, Param, Scalar, Stage
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.search.observation import HALF_WIDTH, Observation
from autotune.search.pool_code import PoolCode
from autotune.search.quantity import Quantity, anything, itself, logarithm, movers_of, scale_of
from autotune.search.sampler import PoolSampler, make_chooser
from autotune.tables import Objective, Row, Table, Values
from benchmarks.search.tuner import Exhausted, Told

MEMORY = [objective("memory", "causal-lm", kind) for kind in ("cpu", "cuda")]
"""What a trial's peak of memory is called."""


class PoolTuner:
    """The sampler of ``autotune search``."""

    def __init__(
        self,
        table: Table,
        seed: int,
        first: int,
        earlier: Sequence[tuple[Values, Observation]] = (),
    ) -> None:
        """
        Args:
            table: The pool.
            seed: Of every random choice.
            first: The row whose values do nothing; it is measured first.
            earlier: What an earlier study has measured of the same configurations.
        """
        self._table = table
        self._rows = [first, *(i for i in range(len(table.rows)) if i != first)]
        plugins = plugins_of(table, table.rows[first])
        self._recipes = [recipe_of(table.rows[i], plugins) for i in self._rows]
        code = PoolCode(self._recipes, {p.name: p for p in plugins.values()})
        quantities = quantities_of_table(table)
        places = {table.rows[row].params: i for i, row in enumerate(self._rows)}
        known = [(places[values], seen) for values, seen in earlier if values in places]
        memory = next((name for name in MEMORY if name in table.rows[first].metrics), None)
        chooser = make_chooser("autotune", code, quantities, None, seed, known, memory)
        self._code, self._sampler = code, PoolSampler(code, chooser)
        self._latest: int | None = None

    def ask(self, warm_setup: str | None) -> int | None:
        """As the loop of a search asks."""
        if not self._sampler.left:
            raise Exhausted
        latest = self._latest
        warm = latest is not None and self._table.rows[self._rows[latest]].setup_key == warm_setup
        self._sampler.warm = self._recipes[latest] if latest is not None and warm else None
        index = self._code.index(self._sampler.next_recipe())
        assert index is not None, "the sampler chooses from the pool"
        return self._rows[index]

    def tell(self, told: Told) -> None:
        """Told as the loop of a search tells it."""
        assert told.row is not None, "the sampler chooses from the pool"
        self._latest = self._rows.index(told.row)
        self._sampler.observe(self._recipes[self._latest], self.seen(told.row, told))

    def seen(self, number: int, told: Told | None = None) -> Observation:
        """What a trial of a row shows."""
        row = self._table.rows[number]
        measured = row.valid and not (told is not None and told.lost)
        values = {name: (value, _error(row, name)) for name, value in row.metrics.items()}
        return Observation(
            values=values if measured else {},
            failed=not measured,
            feasible=measured,
            phase_seconds=row.phase_seconds,
            warm=told is not None and told.warm,
            out_of_memory=row.outcome is Outcome.OUT_OF_MEMORY,
        )


def tried_alone(
    table: Table, seed: int, trials: int, earlier: Sequence[tuple[Values, Observation]] = ()
) -> tuple[list[int], list[tuple[Values, Observation]]]:
    """One search by one worker, which begins with any row that is valid.

    Returns:
        Row numbers in the order in which they were tried, and what came of them.
    """
    valid = [i for i, row in enumerate(table.rows) if row.valid]
    tuner = PoolTuner(table, seed, random.Random(seed).choice(valid), earlier)
    rows: list[int] = []
    while len(rows) < min(trials, len(table.rows)):
        row = tuner.ask(None)
        assert row is not None
        tuner.tell(Told(row, 1.0))
        rows.append(row)
    return rows, [(table.rows[row].params, tuner.seen(row)) for row in rows]


def _error(row: Row, name: str) -> float:
    low, high = row.intervals.get(name, (0.0, 0.0))
    return (high - low) / (2 * HALF_WIDTH)


def quantities_of_table(table: Table) -> tuple[Quantity, ...]:
    """The objectives as a search would model them; of metrics that it does not know, positive ones
    on a log scale."""
    return tuple(_quantity(table, objective) for objective in table.objectives)


def _quantity(table: Table, objective: Objective) -> Quantity:
    name = objective.name
    if name in METRICS:
        return Quantity(name, not objective.maximise, scale_of(name), movers_of(name))
    positive = all(row.metrics[name] > 0 for row in table.rows if row.valid)
    return Quantity(name, not objective.maximise, logarithm if positive else itself, anything)


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

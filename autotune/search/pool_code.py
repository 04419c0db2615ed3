"""The pool as numbers: rows to measure distances in, and Optuna's flat params."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from autotune.params import Float, Int, Param, Scalar
from autotune.plugin import Plugin
from autotune.recipe import Recipe, complete, is_off, needs_setup, share

_Values = tuple[tuple[str, Scalar], ...]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.intp]]


class PoolCode:
    """Recipes as rows of numbers, and as Optuna's flat params ``plugin.param``.

    A param that is inactive in a recipe has its default there. The few variants of each plugin
    are coded once; a pool of 100,000 recipes is then put together from them.
    """

    def __init__(self, recipes: Sequence[Recipe], plugins: Mapping[str, Plugin]) -> None:
        self.recipes = recipes
        self.plugins = plugins
        self._variants: dict[str, dict[_Values, dict[str, Scalar]]] = {
            name: {(): self._flat_plugin(name, ())} for name in plugins
        }
        for recipe in recipes:
            for name, values in recipe.choices:
                if values not in self._variants[name]:
                    self._variants[name][values] = self._flat_plugin(name, values)
        every = [f"{p}.{n}" for p, plugin in plugins.items() for n in plugin.params]
        self._values = {name: self._seen_values(name) for name in every}
        self.names = [name for name in every if len(self._values[name]) > 1]
        self._ordered = np.array([self.is_ordered(name) for name in self.names], dtype=bool)
        self.distributions = {name: self._distribution(name) for name in self.names}
        self.rows = self._code_rows()
        """``[recipes, params]``: the place of each value among those of the param, from 0 to 1
        where they have an order."""
        self.setups = self._groups(needs_setup)
        """For each recipe a number; recipes with the same one share their prepared process."""
        self.outputs = self._groups(lambda param: param.changes_output)
        """For each recipe a number; recipes with the same one share their accuracy."""
        self._index = {recipe: i for i, recipe in enumerate(recipes)}

    def recipe(self, flat: Mapping[str, Any]) -> Recipe:
        """The recipe that flat params describe; params that do not vary may be left out."""
        on: dict[str, dict[str, Scalar]] = {}
        for name, plugin in self.plugins.items():
            given = {
                n: flat.get(f"{name}.{n}", self._values[f"{name}.{n}"][0]) for n in plugin.params
            }
            values = complete(plugin, given)
            if not is_off(plugin, values):
                on[name] = values
        return Recipe.from_dict(on)

    def flat(self, recipe: Recipe) -> dict[str, Scalar]:
        """The varying params of a recipe of the pool."""
        flat = self._flat(recipe)
        return {name: flat[name] for name in self.names}

    def index(self, recipe: Recipe) -> int | None:
        """Where a recipe stands in the pool."""
        return self._index.get(recipe)

    def siblings(self, recipe: Recipe) -> Mask:
        """Which recipes of the pool share the recipe's prepared process."""
        index = self.index(recipe)
        if index is None:
            return np.zeros(len(self.recipes), dtype=bool)
        return np.asarray(self.setups == self.setups[index])

    def distances(self, flat: Mapping[str, Any]) -> Numbers:
        """How far each recipe of the pool is: 1 per differing choice, less for near numbers.
        Params that are not given do not count."""
        given = [i for i, name in enumerate(self.names) if name in flat]
        names = [self.names[i] for i in given]
        wanted = np.array([self._position(n, flat[n]) for n in names], dtype=np.float32)
        difference = np.abs(self.rows[:, given] - wanted)
        unordered = ~self._ordered[given]
        difference[:, unordered] = difference[:, unordered] > 0
        return np.asarray(difference.sum(axis=1))

    def _flat(self, recipe: Recipe) -> dict[str, Scalar]:
        chosen = dict(recipe.choices)
        flat: dict[str, Scalar] = {}
        for name in self.plugins:
            flat |= self._variants[name][chosen.get(name, ())]
        return flat

    def _flat_plugin(self, name: str, values: _Values) -> dict[str, Scalar]:
        given = dict(values)
        return {
            f"{name}.{param}": given.get(param, declared.default)
            for param, declared in self.plugins[name].params.items()
        }

    def _seen_values(self, name: str) -> tuple[Scalar, ...]:
        plugin = name.split(".")[0]
        values = {flat[name] for flat in self._variants[plugin].values()}
        numeric = not any(isinstance(v, str) for v in values)
        return tuple(sorted(values, key=(lambda v: float(v)) if numeric else str))

    def _code_rows(self) -> Numbers:
        pieces = {
            plugin: {
                values: [self._position(n, v) for n, v in flat.items() if n in self.names]
                for values, flat in variants.items()
            }
            for plugin, variants in self._variants.items()
        }
        rows = np.empty((len(self.recipes), len(self.names)), dtype=np.float32)
        for i, recipe in enumerate(self.recipes):
            chosen = dict(recipe.choices)
            rows[i] = [x for name in self.plugins for x in pieces[name][chosen.get(name, ())]]
        return rows

    def _groups(self, belongs: Callable[[Param], bool]) -> Integers:
        """Numbers the recipes by the params that belong."""
        numbers = {name: self._part_numbers(name, belongs) for name in self.plugins}
        parts = np.zeros((len(self.recipes), len(self.plugins) + 1), dtype=np.int32)
        for i, recipe in enumerate(self.recipes):
            chosen = dict(recipe.choices)
            parts[i, :-1] = [numbers[name][chosen.get(name, ())] for name in self.plugins]
        return np.unique(parts, axis=0, return_inverse=True)[1].reshape(-1)

    def _part_numbers(self, name: str, belongs: Callable[[Param], bool]) -> dict[_Values, int]:
        plugin = self.plugins[name]
        parts: dict[_Values, int] = {}
        numbers: dict[_Values, int] = {}
        for values in self._variants[name]:
            part = tuple(share(plugin, dict(values), belongs).items())
            numbers[values] = parts.setdefault(part, len(parts))
        return numbers

    def _position(self, name: str, value: Scalar) -> float:
        values = self._values[name]
        if not self.is_ordered(name):
            return float(values.index(value))
        nearest = min(range(len(values)), key=lambda i: abs(float(values[i]) - float(value)))
        return nearest / max(1, len(values) - 1)

    def param(self, name: str) -> Param:
        """What a plugin declares of a flat param."""
        plugin, param = name.split(".")
        return self.plugins[plugin].params[param]

    def is_ordered(self, name: str) -> bool:
        """Whether a param's values are numbers, so that some are nearer than others."""
        return isinstance(self.param(name), Int | Float)

    def _distribution(self, name: str) -> BaseDistribution:
        values = self._values[name]
        declared = self.param(name)
        if isinstance(declared, Int):
            return IntDistribution(int(values[0]), int(values[-1]), log=declared.log)
        if isinstance(declared, Float):
            return FloatDistribution(float(values[0]), float(values[-1]))
        return CategoricalDistribution(values)

"""The pool as numbers: rows to measure distances in, and Optuna's flat params."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from autotune.params import Float, Int, Scalar
from autotune.plugin import Plugin
from autotune.recipe import Recipe, complete, is_off, needs_setup, share

_Values = tuple[tuple[str, Scalar], ...]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
Numbers = np.ndarray[Any, np.dtype[np.float32]]


class PoolCode:
    """Recipes as rows of numbers, and as Optuna's flat params ``plugin.param``.

    A param that is inactive in a recipe has its default there. The few variants of each plugin
    are coded once; a pool of 100,000 recipes is then put together from them.
    """

    def __init__(self, recipes: Sequence[Recipe], plugins: Mapping[str, Plugin]) -> None:
        self.recipes = recipes
        self._plugins = plugins
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
        self._ordered = np.array([self._is_ordered(name) for name in self.names], dtype=bool)
        self.distributions = {name: self._distribution(name) for name in self.names}
        self._rows = self._code_rows()
        self._setups = self._code_setups()
        self._index = {recipe: i for i, recipe in enumerate(recipes)}

    def recipe(self, flat: Mapping[str, Any]) -> Recipe:
        """The recipe that flat params describe; params that do not vary may be left out."""
        on: dict[str, dict[str, Scalar]] = {}
        for name, plugin in self._plugins.items():
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
        return np.asarray((self._setups == self._setups[index]).all(axis=1))

    def distances(self, flat: Mapping[str, Any]) -> Numbers:
        """How far each recipe of the pool is: 1 per differing choice, less for near numbers."""
        wanted = np.array([self._position(n, flat[n]) for n in self.names], dtype=np.float32)
        difference = np.abs(self._rows - wanted)
        difference[:, ~self._ordered] = difference[:, ~self._ordered] > 0
        return np.asarray(difference.sum(axis=1))

    def _flat(self, recipe: Recipe) -> dict[str, Scalar]:
        chosen = dict(recipe.choices)
        flat: dict[str, Scalar] = {}
        for name in self._plugins:
            flat |= self._variants[name][chosen.get(name, ())]
        return flat

    def _flat_plugin(self, name: str, values: _Values) -> dict[str, Scalar]:
        given = dict(values)
        return {
            f"{name}.{param}": given.get(param, declared.default)
            for param, declared in self._plugins[name].params.items()
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
            rows[i] = [x for name in self._plugins for x in pieces[name][chosen.get(name, ())]]
        return rows

    def _code_setups(self) -> np.ndarray[Any, np.dtype[np.int32]]:
        """For each recipe and plugin, a number for the part that needs preparing."""
        numbers = {name: self._setup_numbers(name) for name in self._plugins}
        setups = np.empty((len(self.recipes), len(self._plugins)), dtype=np.int32)
        for i, recipe in enumerate(self.recipes):
            chosen = dict(recipe.choices)
            setups[i] = [numbers[name][chosen.get(name, ())] for name in self._plugins]
        return setups

    def _setup_numbers(self, name: str) -> dict[_Values, int]:
        plugin = self._plugins[name]
        parts: dict[_Values, int] = {}
        numbers: dict[_Values, int] = {}
        for values in self._variants[name]:
            part = tuple(share(plugin, dict(values), needs_setup).items())
            numbers[values] = parts.setdefault(part, len(parts))
        return numbers

    def _position(self, name: str, value: Scalar) -> float:
        values = self._values[name]
        if not self._is_ordered(name):
            return float(values.index(value))
        nearest = min(range(len(values)), key=lambda i: abs(float(values[i]) - float(value)))
        return nearest / max(1, len(values) - 1)

    def _is_ordered(self, name: str) -> bool:
        plugin, param = name.split(".")
        return isinstance(self._plugins[plugin].params[param], Int | Float)

    def _distribution(self, name: str) -> BaseDistribution:
        values = self._values[name]
        plugin, param = name.split(".")
        declared = self._plugins[plugin].params[param]
        if isinstance(declared, Int):
            return IntDistribution(int(values[0]), int(values[-1]), log=declared.log)
        if isinstance(declared, Float):
            return FloatDistribution(float(values[0]), float(values[-1]))
        return CategoricalDistribution(values)

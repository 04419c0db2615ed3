"""Chooses the next recipe from the pool: the baseline first, then what the user named, none
twice."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from autotune.errors import InputError, unknown_name
from autotune.recipe import Recipe
from autotune.search.features import make_features
from autotune.search.observation import Observation, Observations
from autotune.search.optuna_chooser import (
    SHORT_NAMES,
    OptunaChooser,
    optuna_names,
    optuna_sampler,
)
from autotune.search.order_chooser import OrderChooser
from autotune.search.pool_code import Integers, Mask, PoolCode
from autotune.search.quantity import Quantity
from autotune.search.surrogate_chooser import SurrogateChooser
from autotune.search.transfer import transfer_of

OWN_SAMPLERS = ("autotune", "random", "grid")


class Chooser(Protocol):
    """What weighs recipes; it is told of every one that begins and ends, in this run or before."""

    def begin(self, index: int) -> None:
        """A recipe is measured from now on."""

    def observe(self, indices: Integers, seen: Observations) -> None:
        """Trials of recipes have ended."""

    def choose(self, allowed: Mask, warm: int | None = None) -> int:
        """One of the allowed recipes; of ``warm`` the prepared process is there."""


class PoolSampler:
    """The recipes that are left, and who chooses among them."""

    def __init__(self, code: PoolCode, chooser: Chooser, first: Iterable[Recipe] = ()) -> None:
        """
        Args:
            code: The pool.
            chooser: Asked once the baseline and ``first`` have been taken.
            first: Recipes of the pool that are not left to the chooser.
        """
        self._code = code
        self._chooser = chooser
        self._free = np.ones(len(code.recipes), dtype=bool)
        self._first = deque([0, *map(self._place, first)])
        self.warm: Recipe | None = None
        """A recipe whose prepared process is there."""

    @property
    def left(self) -> int:
        """Recipes that were not chosen yet."""
        return int(self._free.sum())

    def take(self, recipes: Iterable[Recipe]) -> None:
        """Marks recipes as tried: those of an earlier run of the study."""
        for recipe in recipes:
            index = self._code.index(recipe)
            if index is not None and self._free[index]:
                self._free[index] = False
                self._chooser.begin(index)

    def observe(self, recipe: Recipe, seen: Observation) -> None:
        """Takes in what came of a recipe, in this run or an earlier one."""
        self.observe_all([recipe], Observations.one(seen))

    def observe_all(self, recipes: Sequence[Recipe], seen: Observations) -> None:
        """The same of many; those that are not of the pool teach nothing."""
        places = [self._code.index(recipe) for recipe in recipes]
        kept = np.array([i for i, p in enumerate(places) if p is not None], dtype=np.intp)
        if len(kept):
            indices = np.array([p for p in places if p is not None], dtype=np.intp)
            self._free[indices] = False
            self._chooser.observe(indices, seen if len(kept) == len(places) else seen.rows(kept))

    def next_recipe(self) -> Recipe:
        """Chooses a recipe that was not chosen before."""
        while self._first and not self._free[self._first[0]]:
            self._first.popleft()
        index = self._first[0] if self._first else self._choose()
        self._free[index] = False
        self._chooser.begin(index)
        return self._code.recipes[index]

    def _place(self, recipe: Recipe) -> int:
        index = self._code.index(recipe)
        if index is None:
            raise ValueError(f"{recipe} is not in the pool")
        return index

    def _choose(self) -> int:
        warm = None if self.warm is None else self._code.index(self.warm)
        return self._chooser.choose(self._free, warm)


def check_sampler(name: str) -> None:
    """Refuses a name that nothing answers to.

    Raises:
        InputError: No sampler of that name takes several objectives and needs only a seed.
    """
    short = [*OWN_SAMPLERS, *SHORT_NAMES]
    if name not in (*short, *optuna_names()):
        classes = set(optuna_names()) - set(SHORT_NAMES.values())
        raise InputError(unknown_name("sampler", name, [*short, *sorted(classes)]))


def make_chooser(
    name: str,
    code: PoolCode,
    quantities: tuple[Quantity, ...],
    model_config: Mapping[str, Any] | None,
    seed: int,
    earlier: Sequence[tuple[int, Observation]] = (),
    memory: str | None = None,
    named: int = 0,
) -> Chooser:
    """What a study's ``sampler`` stands for.

    Args:
        name: ``autotune``, ``random``, ``grid``, or one of Optuna's.
        code: The pool.
        quantities: What is modelled.
        model_config: For what plugins estimate; none: no estimates.
        seed: Of all that is drawn.
        earlier: What another study has measured, by places in the pool; ``autotune`` begins with
            it.
        memory: The metric that is a trial's peak of memory: it tells ``autotune`` what will fit.
        named: How many recipes after the baseline are not left to it.
    """
    if name == "autotune":
        features = make_features(code, model_config)
        transfer = transfer_of(earlier, quantities)
        return SurrogateChooser(code, features, quantities, seed, transfer, memory, named)
    if name in ("random", "grid"):
        return OrderChooser(len(code.recipes), seed if name == "random" else None)
    objectives = {q.name: q.direction for q in quantities if q.objective}
    return OptunaChooser(code, optuna_sampler(name, seed), objectives, seed)

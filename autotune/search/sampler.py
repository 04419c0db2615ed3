"""Chooses the next recipe from the pool; Optuna's samplers advise, the pool decides."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from autotune.recipe import Recipe
from autotune.search.pool_code import Mask, PoolCode

_RANDOM_TRIALS = 10
"""So many trials are spread out before the inner sampler is asked."""


class PoolSampler(BaseSampler):
    """Baseline, then each plugin once alone, then random recipes, then the inner sampler's
    wish, moved to the nearest recipe that was not tried. No recipe is ever chosen twice."""

    def __init__(self, code: PoolCode, inner: BaseSampler, seed: int) -> None:
        self._code = code
        self._inner = inner
        self._free = np.ones(len(code.recipes), dtype=bool)
        self._random = random.Random(seed)
        self._alone = [i for i, recipe in enumerate(code.recipes) if len(recipe.choices) == 1]
        self._complete: int | None = None
        self.warm: Recipe | None = None
        """Choose among the recipes that share this one's prepared process, if any is left."""

    @property
    def left(self) -> int:
        """Recipes that were not chosen yet."""
        return int(self._free.sum())

    def take(self, recipes: Iterable[Recipe]) -> None:
        """Marks recipes as tried: those of an earlier run of the study."""
        for recipe in recipes:
            index = self._code.index(recipe)
            if index is not None:
                self._free[index] = False

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """All dimensions: conditional ones too, so that one model sees everything."""
        return self._code.distributions

    def sample_relative(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        search_space: dict[str, BaseDistribution],
    ) -> dict[str, Any]:
        """The params of the chosen recipe."""
        return self._code.flat(self.next_recipe(study, trial))

    def next_recipe(self, study: optuna.Study, trial: FrozenTrial) -> Recipe:
        """Chooses a recipe that was not chosen before.

        Args:
            study: What is known.
            trial: What is asked for; Optuna's samplers want to see it.
        """
        index = self._choose(study, trial)
        self._free[index] = False
        return self._code.recipes[index]

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Never called for the pool's dimensions."""
        raise KeyError(f"{param_name} is not a dimension of this study")

    def _choose(self, study: optuna.Study, trial: FrozenTrial) -> int:
        if self._free[0]:
            return 0
        allowed = self._allowed()
        finished = self._finished(study)
        alone = self._untried_plugin_alone(allowed)
        if alone is not None and finished < 2 * _RANDOM_TRIALS:
            return alone
        if finished < _RANDOM_TRIALS:
            return self._any(allowed)
        wish = self._inner.sample_relative(study, trial, self._code.distributions)
        if not wish:
            return self._any(allowed)
        return self._nearest(wish, allowed)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Counts the trials that are told, so that nobody has to read them all again."""
        if self._complete is not None and state is TrialState.COMPLETE:
            self._complete += 1

    def _finished(self, study: optuna.Study) -> int:
        """How many trials are complete."""
        if self._complete is None:
            told = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            self._complete = len(told)
        return self._complete

    def _allowed(self) -> Mask:
        if self.warm is not None:
            siblings: Mask = self._free & self._code.siblings(self.warm)
            if siblings.any():
                return siblings
        return self._free

    def _untried_plugin_alone(self, allowed: Mask) -> int | None:
        """A recipe with only one plugin on, of a plugin that was not tried alone yet."""
        alone: dict[str, list[int]] = {}
        tried: set[str] = set()
        for index in self._alone:
            name = self._code.recipes[index].choices[0][0]
            if not self._free[index]:
                tried.add(name)
            elif allowed[index]:
                alone.setdefault(name, []).append(index)
        untried = sorted(set(alone) - tried)
        return self._random.choice(alone[self._random.choice(untried)]) if untried else None

    def _nearest(self, wish: Mapping[str, Any], allowed: Mask) -> int:
        distances = np.where(allowed, self._code.distances(wish), np.inf)
        return self._any(distances == distances.min())

    def _any(self, wanted: Mask) -> int:
        # No list of a pool of 100,000; a draw depends on their number alone.
        return int(self._random.choice(np.flatnonzero(wanted)))


def make_inner(name: str, seed: int) -> BaseSampler:
    """Optuna's sampler of that name: ``tpe`` (multivariate) or ``random``."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(
        n_startup_trials=_RANDOM_TRIALS, multivariate=True, constant_liar=False, seed=seed
    )

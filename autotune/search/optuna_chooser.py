"""Any of Optuna's samplers over the pool: it wishes, the nearest recipe that is left is taken."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.metrics import Direction
from autotune.search.observation import Observation, Observations
from autotune.search.pool_code import Integers, Mask, PoolCode

_SPREAD_TRIALS = 10
"""So many trials are spread out before the sampler is asked."""
_LIMITS = "limits"

SHORT_NAMES = {
    "tpe": "TPESampler",
    "gp": "GPSampler",
    "nsga2": "NSGAIISampler",
    "nsga3": "NSGAIIISampler",
    "qmc": "QMCSampler",
}

_UNUSABLE = (
    optuna.samplers.CmaEsSampler,  # one objective only
    optuna.samplers.BruteForceSampler,  # never asks for all params together: grid does
)


def optuna_sampler(name: str, seed: int) -> BaseSampler:
    """A sampler of Optuna's by its class's name, or a short one; ``tpe`` is multivariate."""
    if name == "tpe":
        return optuna.samplers.TPESampler(
            n_startup_trials=_SPREAD_TRIALS, multivariate=True, constant_liar=False, seed=seed
        )
    with warnings.catch_warnings():
        # Whoever names a sampler that Optuna calls experimental wants it.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: BaseSampler = getattr(optuna.samplers, SHORT_NAMES.get(name, name))(seed=seed)
    return made


def optuna_names() -> list[str]:
    """Names of Optuna's classes that a study may give: those that need nothing but a seed, and
    take several objectives."""
    found = inspect.getmembers(optuna.samplers, inspect.isclass)
    return [name for name, kind in found if issubclass(kind, BaseSampler) and _is_usable(kind)]


def _is_usable(kind: type[BaseSampler]) -> bool:
    if inspect.isabstract(kind) or kind in _UNUSABLE:
        return False
    params = inspect.signature(kind).parameters.values()
    needed = [p.name for p in params if p.default is p.empty]
    return not needed and any(p.name == "seed" for p in params)


class _Wishing(BaseSampler):
    """Samples all dimensions together, the conditional ones too, so that one model sees all."""

    def __init__(self, inner: BaseSampler, distributions: dict[str, BaseDistribution]) -> None:
        self._inner = inner
        self._distributions = distributions

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        raise KeyError(f"{param_name} is not a dimension of this study")


class OptunaChooser:
    """Each plugin once alone, then random recipes, then the recipe that is left nearest to what
    the sampler asks for. It learns what was measured in a study of its own, in memory: no sampler
    has to read the record of thousands of trials, or may write into it."""

    def __init__(
        self,
        code: PoolCode,
        inner: BaseSampler,
        objectives: Mapping[str, Direction],
        seed: int,
    ) -> None:
        """
        Args:
            code: The pool.
            inner: Optuna's sampler.
            objectives: Names of metrics, with their directions.
            seed: Of what is drawn at random.
        """
        self._code = code
        self._objectives = objectives
        self._random = np.random.default_rng(seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(
            directions=[d.value for d in objectives.values()],
            sampler=_Wishing(inner, code.distributions),
        )
        self._alone = [i for i, recipe in enumerate(code.recipes) if len(recipe.choices) == 1]
        self._tried_alone: set[str] = set()
        self._attributes: dict[int, dict[str, Any]] = {}
        """What a sampler noted of a trial that runs."""
        self._worst: list[float] | None = None
        self._finished = 0
        self._prepared = False

    def begin(self, index: int) -> None:
        """Notes that a recipe is measured from now on."""
        choices = self._code.recipes[index].choices
        if len(choices) == 1:
            self._tried_alone.add(choices[0][0])

    def observe(self, indices: Integers, seen: Observations) -> None:
        """Tells the sampler. A failed trial is told with the worst values seen: of failures that
        are told as such, Optuna's samplers learn nothing."""
        for i, index in enumerate(indices.tolist()):
            self._tell(index, seen.row(i))

    def _tell(self, index: int, seen: Observation) -> None:
        self.begin(index)
        self._finished += 1
        self._prepared = not seen.warm and not seen.failed
        values = self._values(seen)
        trial = create_trial(
            params=dict(self._code.flat(self._code.recipes[index])),
            distributions=self._code.distributions,
            values=values,
            system_attrs=self._attributes.pop(index, {}),
        )
        trial.set_constraint(_LIMITS, -1.0 if seen.feasible else 1.0)
        self._study.add_trial(trial)

    def choose(self, allowed: Mask, warm: int | None = None) -> int:
        """The next recipe.

        Args:
            allowed: Which recipes may be chosen; one at least.
            warm: A recipe whose prepared process is there: after it had to be prepared, one
                sibling is measured in it.
        """
        if warm is not None and self._prepared:
            siblings = allowed & self._code.siblings(self._code.recipes[warm])
            allowed = siblings if siblings.any() else allowed
        alone = self._untried_plugin_alone(allowed)
        if alone is not None and self._finished < 2 * _SPREAD_TRIALS:
            return alone
        if self._finished < _SPREAD_TRIALS:
            return self._any(allowed)
        return self._wished(allowed)

    def _wished(self, allowed: Mask) -> int:
        trial = self._study.ask()
        wish = trial.relative_params
        noted = self._study.get_trials(deepcopy=False)[trial.number].system_attrs
        self._study.tell(trial, state=TrialState.FAIL)
        if not wish:
            index = self._any(allowed)
        else:
            distances = np.where(allowed, self._code.distances(wish), np.inf)
            index = self._any(distances == distances.min())
        self._attributes[index] = dict(noted)
        return index

    def _untried_plugin_alone(self, allowed: Mask) -> int | None:
        """A recipe with only one plugin on, of a plugin that was not tried alone yet."""
        alone: dict[str, list[int]] = {}
        for index in self._alone:
            name = self._code.recipes[index].choices[0][0]
            if allowed[index] and name not in self._tried_alone:
                alone.setdefault(name, []).append(index)
        if not alone:
            return None
        return int(self._random.choice(alone[str(self._random.choice(sorted(alone)))]))

    def _any(self, wanted: Mask) -> int:
        return int(self._random.choice(np.flatnonzero(wanted)))

    def _values(self, seen: Observation) -> list[float]:
        found = [
            seen.values[name][0] if name in seen.values else None for name in self._objectives
        ]
        if seen.failed or None in found:
            worst = self._worst or [0.0] * len(found)
            found = [w if v is None else v for v, w in zip(found, worst, strict=True)]
        told = [v for v in found if v is not None]
        self._worst = told if self._worst is None else self._worse(self._worst, told)
        return told

    def _worse(self, one: Sequence[float], other: Sequence[float]) -> list[float]:
        chosen = []
        for a, b, direction in zip(one, other, self._objectives.values(), strict=True):
            chosen.append(min(a, b) if direction is Direction.MAXIMIZE else max(a, b))
        return chosen

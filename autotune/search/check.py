"""Tries what plugins offer, each value once: does it run here, and is its effect seen?"""

from __future__ import annotations

import math
import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from autotune.execute.base import OnProgress
from autotune.execute.local import LocalExecutor
from autotune.front import ratio_to_baseline
from autotune.messages import Metrics, RecipeDict, TrialResult
from autotune.metrics import Family, metric
from autotune.outcome import Lesson, Outcome, lesson
from autotune.params import Params, Scalar
from autotune.plugin import Phase
from autotune.recipe import Recipe, describe
from autotune.registry import Registry
from autotune.search.plan import Plan
from autotune.search.single import make_spec, measure_baseline
from autotune.space import Pool, build_pool
from autotune.workload.model import read_config

_WEIGHTS = "weights_bytes"
_SEEN = 0.5
"""An effect on the weights is seen where its logarithm is at least this share of the estimate's:
estimates leave out what a plugin does not touch in this model."""
_NONE = 0.02
"""An estimate nearer to 1 states no effect."""


class Verdict(StrEnum):
    """What came of one choice of values."""

    OK = "ok"
    """It ran, gave finite outputs, and what it states was seen."""
    REFUSED = "refused"
    """The plugin says why it cannot work here."""
    FELL_BACK = "fell back"
    """It ran otherwise than asked, and was noticed: such a trial is never a pick."""
    FAILED = "failed"
    """It crashed, or had none of the effect that it states."""


@dataclass(frozen=True)
class Tried:
    """One choice of a plugin's values."""

    plugin: str
    params: Params
    """Those of the plugin; empty where all of it is refused."""
    verdict: Verdict
    words: str = ""
    """Why it was refused or has failed."""
    beside: str = ""
    """What else was on: a plugin that recovers needs one that takes away."""
    ratios: Mapping[str, float] = field(default_factory=dict)
    """Metric → value over that of the baseline, as far as both were measured."""
    accuracy: Mapping[str, float] = field(default_factory=dict)
    """Metric → value, of those that tell accuracy."""

    @property
    def values(self) -> str:
        """The params in words."""
        return describe({self.plugin: self.params}).partition(" ")[2] if self.params else "all"


@dataclass(frozen=True)
class Choice:
    """A recipe that is to be tried for the sake of one plugin."""

    plugin: str
    recipe: Recipe

    @property
    def params(self) -> Params:
        """The plugin's own."""
        return self.recipe.to_dict()[self.plugin]

    @property
    def beside(self) -> RecipeDict:
        """What else is on."""
        return {name: p for name, p in self.recipe.to_dict().items() if name != self.plugin}


def choices(plan: Plan, name: str) -> tuple[list[Choice], list[Tried]]:
    """The fewest recipes found in which every value of a plugin that can work here occurs.

    Args:
        plan: Model and device; its registry holds all plugins.
        name: The plugin.

    Returns:
        What is to be tried, and what is refused beforehand: values that occur in no recipe.
    """
    pool = _pool_of(plan, name)
    on = [recipe for recipe in pool.recipes if name in recipe.to_dict()]
    tried = [Choice(name, recipe) for recipe in covering(on, name)]
    possible = {item for choice in tried for item in choice.params.items()}
    return tried, _refusals(pool, name, possible)


def covering(recipes: Sequence[Recipe], name: str) -> list[Recipe]:
    """Recipes in which every value of a plugin occurs that occurs in any, chosen greedily.

    Args:
        recipes: All with that plugin.
        name: The plugin.
    """
    parts = {recipe: set(recipe.to_dict()[name].items()) for recipe in recipes}
    left = set().union(*parts.values())
    chosen: list[Recipe] = []
    while left:
        best = max(recipes, key=lambda recipe: len(parts[recipe] & left))
        chosen.append(best)
        left -= parts[best]
    return chosen


def pairs(plan: Plan, names: Sequence[str]) -> tuple[list[Choice], list[Tried]]:
    """One recipe, drawn by the study's seed, for each pair of a given plugin and any other; of
    those that train, one that trains for the shortest.

    Args:
        plan: Model and device; its registry holds all plugins.
        names: The plugins.

    Returns:
        What is to be tried, and the pairs that can never be on together here.
    """
    tried: list[Choice] = []
    refused: list[Tried] = []
    for name in names:
        others = [o for o in plan.registry.plugins if o not in names[: names.index(name) + 1]]
        for other in others:
            pool = _pool_of(plan, name, other)
            both = [r for r in pool.recipes if {name, other} <= r.to_dict().keys()]
            if both:
                quick = _least_training(plan.registry, both)
                tried.append(Choice(name, random.Random(plan.study.seed).choice(quick)))
                continue
            alone = {n for recipe in pool.recipes for n in recipe.to_dict()}
            whys = (r.reason for r in pool.refusals if r.plugin in {name, other} - alone)
            words = next(whys, "they conflict, or one has nothing to do beside the other")
            refused.append(Tried(name, {}, Verdict.REFUSED, words, beside=other))
    return tried, refused


def _least_training(registry: Registry, recipes: Sequence[Recipe]) -> list[Recipe]:
    """Those whose plugins that recover have the smallest numbers of steps and the like: how long
    one trains says nothing of what it goes together with."""

    def length(recipe: Recipe) -> float:
        on = recipe.to_dict().items()
        recovering = (p for name, p in on if registry.get(name).phase is Phase.RECOVER)
        return sum(float(v) for p in recovering for v in p.values() if not isinstance(v, str))

    least = min(map(length, recipes))
    return [recipe for recipe in recipes if length(recipe) == least]


def _pool_of(plan: Plan, *names: str) -> Pool:
    """All recipes of these plugins; of one that recovers, beside one that takes away."""
    phases = {plan.registry.get(name).phase for name in names}
    companion = None
    if Phase.RECOVER in phases and Phase.STRUCTURE not in phases:
        companion = _first_that_takes_away(plan)
    if companion is None:
        return _pool(plan, plan.registry.select(names), {})
    other, params = companion
    restrictions = {other: {key: (value,) for key, value in params.items()}}
    return _pool(plan, plan.registry.select([*names, other]), restrictions)


def _first_that_takes_away(plan: Plan) -> tuple[str, Params] | None:
    for name, plugin in plan.registry.plugins.items():
        if plugin.phase is Phase.STRUCTURE:
            pool = _pool(plan, plan.registry.select([name]), {})
            on = [recipe for recipe in pool.recipes if not recipe.is_baseline]
            if on:
                return name, on[0].to_dict()[name]
    return None


def _pool(
    plan: Plan, registry: Registry, restrictions: Mapping[str, Mapping[str, tuple[Scalar, ...]]]
) -> Pool:
    return build_pool(
        registry,
        restrictions,
        task=plan.model.task,
        model_config=read_config(Path(plan.model.path)),
        device=plan.device,
        traits=plan.study.workload.traits,
        seed=plan.study.seed,
        allow_power_changes=plan.study.allow_power_changes,
    )


def _refusals(pool: Pool, name: str, possible: set[tuple[str, Scalar]]) -> list[Tried]:
    """Each value that no recipe has, with the first reason that was given for it."""
    found: dict[tuple[tuple[str, Scalar], ...], Tried] = {}
    for refusal in pool.refusals:
        lacking = {k: v for k, v in refusal.params.items() if (k, v) not in possible}
        if refusal.plugin == name and (lacking or not refusal.params):
            refused = Tried(name, lacking, Verdict.REFUSED, refusal.reason)
            found.setdefault(tuple(sorted(lacking.items())), refused)
    single = {item for key in found if len(key) == 1 for item in key}
    return [t for key, t in found.items() if len(key) < 2 or not single & set(key)]


def try_all(
    plan: Plan, wanted: Sequence[Choice], on_progress: OnProgress
) -> Generator[Tried, None, None]:
    """Carries each choice out as a trial beside the baseline.

    Args:
        plan: Model, workload and device; its registry holds all plugins.
        wanted: From ``choices``.
        on_progress: Told what the running trial does.

    Raises:
        AutotuneError: The baseline itself cannot be measured.
    """
    with closing(LocalExecutor(plan.registry, on_progress)) as executor:
        baseline = measure_baseline(plan, executor)
        for number, choice in enumerate(wanted, start=1):
            executor.submit(make_spec(plan, number, choice.recipe, baseline=baseline.metrics))
            yield judge(plan, choice, executor.wait(), baseline)


def judge(plan: Plan, choice: Choice, result: TrialResult, baseline: TrialResult) -> Tried:
    """What a trial says of its plugin.

    Args:
        plan: As it was tried.
        choice: What was tried.
        result: What came of it.
        baseline: That of the baseline.
    """
    made = Tried(choice.plugin, choice.params, Verdict.OK)
    if choice.beside:
        made = replace(made, beside=describe(choice.beside))
    if result.outcome is Outcome.UNSUPPORTED:
        return replace(made, verdict=Verdict.REFUSED, words=result.explanation)
    if lesson(result.outcome) is Lesson.REJECT:
        words = f"{result.outcome}: {result.explanation}"
        return replace(made, verdict=Verdict.FAILED, words=words)
    ratios = _ratios(result.metrics, baseline.metrics)
    made = replace(made, ratios=ratios, accuracy=_accuracy(result.metrics))
    if wrong := _without_effect(plan, choice, ratios):
        return replace(made, verdict=Verdict.FAILED, words=wrong)
    if other := _fallbacks(result, baseline):
        return replace(made, verdict=Verdict.FELL_BACK, words=other)
    return made


def _accuracy(metrics: Metrics) -> dict[str, float]:
    values = {n: m.value for n, m in metrics.items() if metric(n).family is Family.ACCURACY}
    return {name: value for name, value in values.items() if value is not None}


def _ratios(metrics: Metrics, baseline: Metrics) -> dict[str, float]:
    found = {name: ratio_to_baseline(own, baseline.get(name)) for name, own in metrics.items()}
    return {name: ratio for name, ratio in found.items() if ratio is not None}


def _fallbacks(result: TrialResult, baseline: TrialResult) -> str:
    """What ran otherwise than asked, and does so not in the baseline's process too."""
    return "; ".join(words for words in result.fallbacks if words not in baseline.fallbacks)


def _without_effect(plan: Plan, choice: Choice, ratios: Mapping[str, float]) -> str:
    """Whether the weights' size does not follow what its plugins estimate. Where one adds weights
    and another makes them smaller, nothing is expected: whether a draft model is quantized as its
    target is, no factor says."""
    config = read_config(Path(plan.model.path))
    on = choice.recipe.to_dict().items()
    factors = [plan.registry.get(n).estimate(p, config).weights_bytes for n, p in on]
    stated = math.prod(factors)
    if abs(stated - 1) < _NONE or _WEIGHTS not in ratios:
        return ""
    if min(factors) < 1 < max(factors):
        return ""
    if math.log(ratios[_WEIGHTS]) / math.log(stated) >= _SEEN:
        return ""
    return f"states {stated:.2f} of the weights' bytes, measured are {ratios[_WEIGHTS]:.2f}"

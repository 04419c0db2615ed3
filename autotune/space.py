"""Plugins → the pool of feasible recipes, and the merging of what plugins contribute."""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from autotune.device import Device
from autotune.errors import InputError, PluginError, unknown_name
from autotune.messages import RecipeDict
from autotune.params import Params, Scalar
from autotune.plugin import Phase, Plugin, Processes, Trait, Unsupported
from autotune.recipe import Recipe, checked_value, is_off, needless
from autotune.registry import Registry

POOL_LIMIT = 100_000
"""A larger pool is replaced by a random sample of this size."""

NEEDS_CONSENT = (
    "changes the power settings of the machine, also for others who use it: it needs "
    "--allow-power-changes"
)

_ON_AT_ONCE = 4
"""Plugins that are on in a recipe of the sample, on average, where there are many."""

_NO_RECIPE_GROWS_SO_MUCH = 8.0
"""Weights grow at most from 8 bits to 32."""

Restrictions = Mapping[str, Mapping[str, tuple[Scalar, ...]]]
"""Values that a study allows: plugin → param → values; a param not named keeps all of its own."""


@dataclass(frozen=True)
class Refusal:
    """Values of one plugin that cannot work here, and why."""

    plugin: str
    params: Params
    reason: str


@dataclass(frozen=True)
class Pool:
    """Every recipe that a study may try."""

    recipes: tuple[Recipe, ...]
    """Feasible, without duplicates, the baseline first."""
    refusals: tuple[Refusal, ...]
    combinations: int
    """How many there were before a pool over ``POOL_LIMIT`` was cut down to a sample."""
    beside: tuple[Recipe, ...] = ()
    """The last ones, which only ``try_first`` has brought in."""


_REQUESTS = {
    Trait.UNIFORM: "requests of one length",
    Trait.MIXED_LENGTHS: "requests of different lengths",
    Trait.SHARED_PREFIX: "prompts that begin alike",
    Trait.REPEATS: "requests that repeat",
    Trait.TEXT: "requests that come as text",
    Trait.ADAPTERS: "requests for several LoRA adapters",
}


def needed_workload(plugin: Plugin) -> str:
    """What a plugin needs of the workload, in words; empty if nothing."""
    found = " or ".join(_REQUESTS[trait] for trait in plugin.requires.workload)
    return f"a workload with {found}" if found else ""


def missing(
    plugin: Plugin, task: str, device: Device, traits: frozenset[Trait] | None = None
) -> str:
    """Why a plugin's requirements do not hold here; empty if they do.

    Args:
        plugin: The plugin.
        task: The model's.
        device: Where it would run.
        traits: The workload's; None where it is not known yet.
    """
    needs = plugin.requires
    if needs.device and needs.device != device.kind:
        return f"needs a {needs.device} device, this study runs on {device.kind}"
    if needs.tasks and task not in needs.tasks:
        return f"knows the tasks {', '.join(needs.tasks)}, not {task}"
    if traits is not None and needs.workload and not traits & set(needs.workload):
        return f"needs {needed_workload(plugin)}: see workload.traffic"
    return missing_package(plugin)


def missing_package(plugin: Plugin) -> str:
    """Which package a plugin needs that is not installed here, in words; empty if none."""
    for package in plugin.requires.packages:
        if not _importable(package):
            return f"needs the package {package!r}: pip install {package}"
    return ""


def _importable(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # the parent of a dotted name
        return False


def build_pool(
    registry: Registry,
    restrictions: Restrictions,
    *,
    task: str,
    model_config: Mapping[str, Any],
    device: Device,
    traits: frozenset[Trait] = frozenset({Trait.UNIFORM}),
    weights_bytes: int = 0,
    seed: int,
    allow_power_changes: bool = False,
) -> Pool:
    """Enumerates the recipes that can work.

    Args:
        registry: The plugins of the study.
        restrictions: Values the study allows.
        task: The model's task.
        model_config: The model's ``config.json``.
        device: Where the study runs.
        traits: What the workload's requests have.
        weights_bytes: Size of the model's weight files; recipes whose weights alone would not fit
            into the device's memory are left out.
        seed: Draws the sample if there are more than ``POOL_LIMIT`` recipes.
        allow_power_changes: The user's consent to recipes that set something of the device.

    Raises:
        InputError: A restriction names an unknown param or value.
        PluginError: A plugin's ``check`` raised something other than ``Unsupported``.
    """
    refusals: list[Refusal] = []
    options: dict[str, list[dict[str, Scalar]]] = {}
    for name, plugin in registry.plugins.items():
        feasible, refused = offered(
            plugin,
            restrictions.get(name, {}),
            task=task,
            model_config=model_config,
            device=device,
            traits=traits,
            allow_power_changes=allow_power_changes,
        )
        options[name] = [{}, *feasible]
        refusals += refused
    _switch_off_needless(options, registry.plugins, refusals)
    combinations = _count(options, registry.plugins)
    chosen = _combine(options, combinations, seed)
    conflicts = _conflicts(registry.plugins)
    recipes = dict.fromkeys(
        r for r in chosen if _compatible(r, conflicts) and not _needless(r, registry.plugins)
    )
    if weights_bytes:
        largest = device.memory_bytes / weights_bytes
        recipes = _those_that_fit(recipes, registry.plugins, model_config, largest)
    return Pool(tuple(recipes)[:POOL_LIMIT], tuple(refusals), combinations)


def offered(
    plugin: Plugin,
    allowed: Mapping[str, tuple[Scalar, ...]],
    *,
    task: str,
    model_config: Mapping[str, Any],
    device: Device,
    traits: frozenset[Trait] | None,
    allow_power_changes: bool,
) -> tuple[list[dict[str, Scalar]], list[Refusal]]:
    """What one plugin can do here, and what it refuses; args as in ``build_pool``, ``missing``."""
    on = [choice for choice in variants(plugin, allowed) if not is_off(plugin, choice)]
    if why_not := missing(plugin, task, device, traits):
        return [], [Refusal(plugin.name, {}, why_not)]
    whys = [_why_refused(plugin, c, model_config, device, allow_power_changes) for c in on]
    refusals = [Refusal(plugin.name, c, why) for c, why in zip(on, whys, strict=True) if why]
    return [choice for choice, why in zip(on, whys, strict=True) if not why], refusals


def _switch_off_needless(
    options: dict[str, list[dict[str, Scalar]]],
    plugins: Mapping[str, Plugin],
    refusals: list[Refusal],
) -> None:
    """Where nothing can change the structure, plugins that recover have only their off."""
    could_be_on = [name for name, choices in options.items() if len(choices) > 1]
    for name in needless(could_be_on, plugins):
        options[name] = [{}]
        reason = "has nothing to recover: no plugin of this study can change the model's structure"
        refusals.append(Refusal(name, {}, reason))


def _count(options: Mapping[str, Sequence[Params]], plugins: Mapping[str, Plugin]) -> int:
    """How many recipes there are, conflicting ones among them, needless ones not."""
    sizes = dict.fromkeys(Phase, 1)
    for name, choices in options.items():
        sizes[plugins[name].phase] *= len(choices)
    structures, recoveries = sizes.pop(Phase.STRUCTURE), sizes.pop(Phase.RECOVER)
    # Of the unchanged structure only that without any recovery.
    return ((structures - 1) * recoveries + 1) * math.prod(sizes.values())


def _those_that_fit(
    recipes: Mapping[Recipe, None],
    plugins: Mapping[str, Plugin],
    model_config: Mapping[str, Any],
    largest: float,
) -> dict[Recipe, None]:
    """Leaves out recipes whose weights are estimated at more than ``largest`` times the files'.

    The baseline stays: whether it fits is found by measuring.
    """
    if largest >= _NO_RECIPE_GROWS_SO_MUCH:
        return dict(recipes)
    factors: dict[_Part, float] = {}
    for recipe in recipes:
        for part in recipe.choices:
            if part not in factors:
                estimate = plugins[part[0]].estimate(dict(part[1]), model_config)
                factors[part] = estimate.weights_bytes
    return {
        recipe: None
        for recipe in recipes
        if recipe.is_baseline or math.prod(factors[p] for p in recipe.choices) <= largest
    }


def variants(
    plugin: Plugin, allowed: Mapping[str, tuple[Scalar, ...]]
) -> Iterator[dict[str, Scalar]]:
    """Every combination of a plugin's own values, conditions respected."""
    for name in allowed:
        if name not in plugin.params:
            raise InputError(unknown_name(f"param of plugin {plugin.name!r}", name, plugin.params))
    values = {n: _allowed_values(plugin, n, allowed.get(n)) for n in plugin.params}

    def extend(chosen: dict[str, Scalar], names: list[str]) -> Iterator[dict[str, Scalar]]:
        if not names:
            yield chosen
            return
        head, *rest = names
        if not plugin.params[head].active(chosen):
            yield from extend(chosen, rest)
            return
        for value in values[head]:
            yield from extend({**chosen, head: value}, rest)

    yield from extend({}, list(plugin.params))


def _allowed_values(
    plugin: Plugin, name: str, given: tuple[Scalar, ...] | None
) -> tuple[Scalar, ...]:
    if given is None:
        return plugin.params[name].values()
    if not given:
        raise InputError(f"{plugin.name}.{name} allows no value; name at least one")
    return tuple(dict.fromkeys(checked_value(plugin, name, value) for value in given))


def _why_refused(
    plugin: Plugin,
    params: Params,
    model_config: Mapping[str, Any],
    device: Device,
    allow_power_changes: bool,
) -> str:
    try:
        hook = "processes"
        divided = plugin.processes(params)
        if divided.count < 1 or divided.count % divided.replicas:
            raise ValueError(f"{divided.count} processes cannot hold {divided.replicas} models")
        hook = "gpus"
        gpus = gpus_of(plugin, params, device)
        if gpus < 1:
            raise ValueError(f"a trial takes 1 GPU or more, not {gpus}")
        if gpus > 1 and (device.kind != "cuda" or device.count < gpus):
            here = device.count if device.kind == "cuda" else 0
            raise Unsupported(f"needs {gpus} GPUs on one host, here are {here}")
        hook = "check"
        plugin.check(params, model_config, device)
        hook = "device_settings"
        if plugin.device_settings(params) and not allow_power_changes:
            raise Unsupported(NEEDS_CONSENT)
    except Unsupported as refusal:
        return str(refusal) or "says not why"
    except Exception as error:
        raise PluginError(
            f"plugin {plugin.name!r} failed in {hook}({dict(params)}): "
            f"{type(error).__name__}: {error}; only Unsupported may be raised there"
        ) from error
    return ""


def gpus_of(plugin: Plugin, params: Params, device: Device) -> int:
    """How many GPUs a plugin's params take: on a GPU, each of several processes has its own."""
    ranks = plugin.processes(params).count if device.kind == "cuda" else 1
    return max(plugin.gpus(params), ranks)


def processes_of(recipe: RecipeDict, plugins: Mapping[str, Plugin]) -> Processes:
    """How the processes of a recipe divide its model.

    Raises:
        Unsupported: Two plugins ask for several processes.
    """
    asked = {name: plugins[name].processes(params) for name, params in recipe.items()}
    several = {name: found for name, found in asked.items() if found.count > 1}
    if len(several) > 1:
        raise Unsupported(f"plugins {' and '.join(several)} both divide the model")
    return next(iter(several.values()), Processes())


_Part = tuple[str, tuple[tuple[str, Scalar], ...]]
"""One plugin's share of a recipe."""


def _part(name: str, values: Params) -> _Part:
    return name, tuple(sorted(values.items()))


def _combine(
    options: Mapping[str, Sequence[Params]], combinations: int, seed: int
) -> Iterator[Recipe]:
    """Recipes of all combinations, or the baseline and a random sample of them.

    In the sample each plugin is off in half of the draws or more, however many values it has:
    evenly among all variants, one with many values would be on in nearly every recipe, and what it
    adds to another could not be seen. Where there are many plugins, a few of them are on.
    """
    parts = [[_part(name, values) for values in options[name]] for name in sorted(options)]
    if combinations <= POOL_LIMIT:
        for combination in itertools.product(*parts):
            yield Recipe(tuple(part for part in combination if part[1]))
        return
    yield Recipe()
    on_only = [[part for part in choices if part[1]] for choices in parts]
    for on in on_only:  # what each does by itself is always worth knowing
        yield from (Recipe((part,)) for part in on)
    draw = random.Random(seed)
    could_be_on = [on for on in on_only if on]
    chance = min(0.5, _ON_AT_ONCE / len(could_be_on))
    for _ in range(POOL_LIMIT):
        drawn = [draw.choice(on) for on in could_be_on if draw.random() < chance]
        yield Recipe(tuple(drawn))


def _conflicts(plugins: Mapping[str, Plugin]) -> list[frozenset[str]]:
    """Pairs that can never be on together; one side's declaration is enough."""
    return [frozenset((a, b)) for a in plugins for b in plugins[a].conflicts if b in plugins]


def _needless(recipe: Recipe, plugins: Mapping[str, Plugin]) -> bool:
    return bool(needless((name for name, _ in recipe.choices), plugins))


def _compatible(recipe: Recipe, conflicts: Sequence[frozenset[str]]) -> bool:
    if not conflicts:
        return True
    on = {name for name, _ in recipe.choices}
    return not any(pair <= on for pair in conflicts)


def merge(
    recipe: RecipeDict,
    plugins: Mapping[str, Plugin],
    contribution: Callable[[Plugin, Params], Mapping[str, Any]],
    what: str,
) -> dict[str, Any]:
    """Joins what each plugin of a recipe contributes.

    Args:
        recipe: Plugin → params.
        plugins: The plugins by name.
        contribution: Asks one plugin, e.g. ``lambda p, v: p.load_args(v)``.
        what: Name of the hook, for the error.

    Raises:
        Unsupported: Two plugins set the same key to different values; names both.
    """
    merged: dict[str, Any] = {}
    owner: dict[str, str] = {}
    for name, params in recipe.items():
        for key, value in contribution(plugins[name], params).items():
            if key in merged and merged[key] != value:
                raise Unsupported(
                    f"plugins {owner[key]!r} and {name!r} both set {what} {key!r}: "
                    f"{merged[key]!r} and {value!r}"
                )
            merged[key], owner[key] = value, name
    return merged

"""Where a plugin may keep the weights that it made, for whoever would make them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from autotune import registry
from autotune.environment import accuracy_key
from autotune.hashing import sha256_json
from autotune.messages import RecipeDict, TrialSpec
from autotune.params import Param, Params, Stage
from autotune.plugin import Phase, Plugin
from autotune.recipe import share

_ORDER = tuple(Phase)


def artifact_file(spec: TrialSpec, name: str, plugins: Mapping[str, Plugin]) -> Path:
    """A path of its own for the model as it is once a plugin's transform is done.

    ``output_key`` would not do as its name: it holds the whole recipe, so that the same
    distillation would be done again for every scheme of quantization that follows it. What the
    weights at this point depend on is the model, the calibration text as it is cut, the seed, the
    device, the libraries (as accuracy does), and of the plugins the output-changing params and
    the code of those that have acted by now.

    Args:
        spec: The trial.
        name: The plugin that asks.
        plugins: The recipe's plugins by name.
    """
    return _file(spec, name, _acted_by(spec.recipe, name, plugins))


def own_artifact_file(spec: TrialSpec, name: str, plugins: Mapping[str, Plugin]) -> Path:
    """A path of its own for what a plugin makes of the original model, whatever else is done.

    Args:
        spec: The trial.
        name: The plugin that asks.
        plugins: The recipe's plugins by name.
    """
    return _file(spec, name, {name: share(plugins[name], spec.recipe[name], _is_prepared)})


def _file(spec: TrialSpec, name: str, acted: RecipeDict) -> Path:
    work = spec.workload
    sources = registry.installed().sources
    identity = [
        spec.model.fingerprint,
        [work.calibration_sha256, work.calibration_sequences, work.prompt_tokens],
        spec.seed,
        accuracy_key(spec.device, spec.model.task),
        acted,
        {other: sources.get(other, "") for other in (*acted, name)},
    ]
    file = f"{name}-{sha256_json(identity)[:24]}.safetensors"
    return Path(spec.cache_directory) / "artifacts" / file


def _acted_by(recipe: RecipeDict, name: str, plugins: Mapping[str, Plugin]) -> RecipeDict:
    """The params that have changed the numbers when a plugin's transform is done."""
    acted = {
        other: share(plugins[other], params, _changes_output)
        for other, params in recipe.items()
        if _acts_before(plugins[other], plugins[name]) or _acts_on_loading(plugins[other], params)
    }
    return {other: params for other, params in acted.items() if params}


def _changes_output(param: Param) -> bool:
    return param.changes_output


def _is_prepared(param: Param) -> bool:
    return param.stage is not Stage.RUN


def _acts_before(other: Plugin, plugin: Plugin) -> bool:
    """Whether its transform comes before the plugin's, or is the plugin's own."""
    mine, its = _ORDER.index(plugin.phase), _ORDER.index(other.phase)
    return (its, other.name) <= (mine, plugin.name)


def _acts_on_loading(plugin: Plugin, params: Params) -> bool:
    """Whether it decides in which format the model is loaded, or sets the process up."""
    return bool(plugin.load_args(params)) or type(plugin).env is not Plugin.env

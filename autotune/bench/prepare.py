"""A recipe → a loaded, transformed model and the engine that runs it."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from autotune import registry
from autotune.bench import adapters
from autotune.bench.artifacts import artifact_file, own_artifact_file
from autotune.bench.checkpoint import load_arguments, load_model, model_class
from autotune.bench.engines import torch_engine
from autotune.bench.exported.checkpoint import is_structured
from autotune.bench.exported.export import Export
from autotune.bench.exported.names import ENGINE_FOLDER
from autotune.bench.loading import make_cold, source_of
from autotune.bench.meters.memory import (
    MemoryMeter,
    is_divided,
    weights_bytes,
    weights_disk_bytes,
)
from autotune.bench.ranks import require_plan
from autotune.bench.tokens import Tokens, load_tokens
from autotune.engine import Engine
from autotune.errors import BenchError
from autotune.messages import Measurement, Metrics, RecipeDict, TrialSpec
from autotune.outcome import Outcome
from autotune.params import Params
from autotune.plugin import Context, Phase, Plugin, Processes, Unsupported
from autotune.space import merge
from autotune.workload.model import check_weights, read_config

_T = TypeVar("_T")
ALONE = Processes()
"""One process that holds the whole model."""


@dataclass
class Prepared:
    """A model that is loaded and transformed, not yet compiled."""

    model: Any
    """None where the engine holds weights of its own."""
    engine: Engine
    tokens: Tokens
    context: Context
    metrics: Metrics
    plugins: Mapping[str, Plugin] = field(default_factory=dict)

    def run_args(self, recipe: RecipeDict) -> dict[str, Any]:
        """How the engine is driven for a recipe that shares this process.

        Raises:
            Unsupported: Two plugins disagree, or the engine does not know what one asks for.
        """
        plugins = registry.installed().plugins
        given = merge(recipe, plugins, lambda p, v: p.run_args(v), "run argument")
        return self.engine.resolve(given)


def prepare(
    spec: TrialSpec,
    memory: MemoryMeter,
    join: Callable[[], None] = lambda: None,
    processes: Processes = ALONE,
    export: Export | None = None,
) -> Prepared:
    """Loads the model and applies every transform but those of the compile phase.

    Args:
        spec: The trial.
        memory: Begins when all is imported and tokenized, just before the weights come.
        join: Connects this process with those that prepare the same model.
        processes: How they divide it.
        export: Is given the model as soon as it holds all that an exported one's files are to.

    Raises:
        Unsupported: A plugin says no.
        BenchError: A plugin raised; names it.
        InputError: The weights are of a kind that may not be loaded.
    """
    # Again: the files may be others since, or elsewhere, than those that the search looked at.
    if not is_structured(source_of(spec)):
        check_weights(source_of(spec), spec.model.trust)
    plugins = registry.installed().select(spec.recipe).plugins
    device = torch.device(spec.device.torch_name)
    if spec.workload.adapters:
        adapters.require_adaptable(plugins, processes)
    tokens = load_tokens(spec.model, spec.workload, device)
    kind, empty = model_class(spec)
    require_plan(empty, load_arguments(spec, plugins).get("distributed_config"))
    context = _context(spec, tokens, kind, export)
    _import_libraries(spec, plugins)
    clock = make_cold(spec)
    join()
    memory.before_loading()
    began = time.perf_counter()
    wanted = _wants_weights(context)
    model = load_model(kind, spec, plugins) if wanted else empty.eval()
    load_seconds = time.perf_counter() - began
    memory.end_of("load")
    layers = adapters.count_layers(model)
    began, divided = time.perf_counter(), _count_divided(model)
    stored, later = in_order(spec, plugins)
    model = transform(model, spec, plugins, context, stored)
    if export is not None:
        export.write(model, kind, tokens, spec.model)
    model = transform(model, spec, plugins, context, later)
    engine = build_engine(model, spec, plugins, context, layers)
    transform_seconds = time.perf_counter() - began
    if _count_divided(model) != divided:
        raise Unsupported(
            "tensor parallelism is for the weights as they were loaded, and a plugin of this "
            "recipe has replaced some of which each process holds a part"
        )
    name = type(engine).__name__
    if processes.parts > 1 and not isinstance(engine, torch_engine.TorchGenerator):
        raise Unsupported(f"{name} runs whole models, and each process holds a part of one")
    own = engine.own_weights()
    held = own.held_bytes if own else weights_bytes(model)
    on_disk = own.stored_bytes if own else weights_disk_bytes(model)
    if own:
        _refuse_compilation(name, plugins)
        model = None
    memory.end_of("transform")
    metrics = {
        "load_seconds": _reading(load_seconds, "s", clock)
        if wanted
        else Measurement.unavailable("s", "the engine has its own files: no weights are loaded"),
        "transform_seconds": _reading(transform_seconds, "s", "wall clock"),
        "weights_bytes": _reading(float(held), "B", name if own else "unique storages"),
        "weights_disk_bytes": _reading(float(on_disk), "B", name if own else "state dict"),
        **memory.phases(),
    }
    return Prepared(model, engine, tokens, context, metrics, plugins)


def in_order(spec: TrialSpec, plugins: Mapping[str, Plugin]) -> tuple[list[str], list[str]]:
    """The plugins whose transforms come before anything is compiled, by phase and name: those up
    to the last that an exported model's files hold, and those after. What they hold already is
    left out."""
    early = [p for p in Phase if p is not Phase.COMPILE]
    acting = [
        name for name in spec.recipe if type(plugins[name]).transform is not Plugin.transform
    ]
    names = [name for phase in early for name in acting if plugins[name].phase is phase]
    held = [name for name in names if plugins[name].is_in_weights(spec.recipe[name])]
    count = names.index(held[-1]) + 1 if held else 0
    first = [name for name in names[:count] if not (spec.exported and name in held)]
    return first, names[count:]


def _wants_weights(context: Context) -> bool:
    """Not where the engine of an exported model has files of its own."""
    files = context.engine_files
    return files is None or not files.is_dir() or not any(files.iterdir())


def _context(spec: TrialSpec, tokens: Tokens, kind: Any, export: Export | None) -> Context:
    baseline = spec.model_copy(update={"recipe": {}})
    folder = Path(spec.exported) if spec.exported else export.folder if export else None
    return Context(
        device=spec.device,
        model_config=read_config(source_of(spec)),
        calibration=tokens.calibration,
        seed=spec.seed,
        task=spec.model.task,
        prompt_tokens=spec.workload.prompt_tokens,
        new_tokens=spec.workload.new_tokens,
        teacher=None if spec.exported else lambda: load_model(kind, baseline, {}),
        engine_files=folder / ENGINE_FOLDER if folder else None,
    )


def _reading(value: float, unit: str, source: str) -> Measurement:
    return Measurement(value=value, unit=unit, source=source)


def _refuse_compilation(engine: str, plugins: Mapping[str, Plugin]) -> None:
    """The model that would be compiled is gone."""
    late = [name for name, plugin in plugins.items() if plugin.phase is Phase.COMPILE]
    if late:
        raise Unsupported(
            f"plugin {late[0]!r} changes how torch executes the model, which "
            f"{engine} executes here"
        )


def _import_libraries(spec: TrialSpec, plugins: Mapping[str, Plugin]) -> None:
    """What scoring, adapters and the plugins import counts neither as the model's memory nor as
    time."""
    importlib.import_module("scipy.special")
    for name, plugin in plugins.items():
        for package in plugin.imports(spec.recipe[name]):
            importlib.import_module(package)
    if spec.workload.adapters:
        adapters.import_libraries()


def _count_divided(model: Any) -> int:
    return sum(map(is_divided, model.parameters())) if isinstance(model, torch.nn.Module) else 0


def transform(
    model: Any,
    spec: TrialSpec,
    plugins: Mapping[str, Plugin],
    context: Context,
    names: Iterable[str],
) -> Any:
    """Applies the transforms of these plugins, in their order."""
    for name in names:
        plugin = plugins[name]
        own = replace(
            context,
            artifact=artifact_file(spec, name, plugins),
            own_artifact=own_artifact_file(spec, name, plugins),
        )
        model = guarded(plugin, spec.recipe[name], "transform", _transform_of(plugin, model, own))
    return model


def _transform_of(plugin: Plugin, model: Any, context: Context) -> Callable[[Params], Any]:
    return lambda params: plugin.transform(model, params, context)


def _engine_of(plugin: Plugin, model: Any, context: Context) -> Callable[[Params], Any]:
    return lambda params: plugin.engine(model, params, context)


def guarded(plugin: Plugin, params: Params, hook: str, call: Callable[[Params], _T]) -> _T:
    """Calls a plugin's hook and names the plugin in whatever it raises."""
    try:
        return call(params)
    except Unsupported:
        raise
    except Exception as error:
        full = is_out_of_memory(error)
        raise BenchError(
            Outcome.OUT_OF_MEMORY if full else Outcome.CRASHED,
            f"plugin {plugin.name!r} {'ran out of memory' if full else 'raised'} in "
            f"{hook}({dict(params)}): {type(error).__name__}: {error}",
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; torch's CPU allocator has no class for it."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "can't allocate memory" in words
        or "not enough memory" in words
        or "out of memory" in words
    )


def compile_model(made: Prepared, spec: TrialSpec) -> bool:
    """Applies the transforms of the compile phase, after accuracy was scored.

    Returns:
        Whether the model is another one, with a new engine.
    """
    last = [name for name in spec.recipe if made.plugins[name].phase is Phase.COMPILE]
    model = transform(made.model, spec, made.plugins, made.context, last)
    if model is made.model:
        return False
    made.model = model
    made.engine = build_engine(model, spec, made.plugins, made.context)
    return True


def build_engine(
    model: Any,
    spec: TrialSpec,
    plugins: Mapping[str, Plugin],
    context: Context,
    layers: int | None = None,
) -> Engine:
    """What a plugin brings, or torch's; given the workload's adapters.

    Args:
        model: With its transforms done.
        spec: The trial.
        plugins: Its recipe's.
        context: What they may use.
        layers: Of the model before any transform.
    """
    engines: dict[str, Engine] = {}
    for name, params in spec.recipe.items():
        made = guarded(plugins[name], params, "engine", _engine_of(plugins[name], model, context))
        if made is not None:
            engines[name] = made
    if len(engines) > 1:
        raise Unsupported(f"plugins {' and '.join(map(repr, engines))} both bring an engine")
    if engines and spec.workload.adapters:
        raise Unsupported(f"plugin {next(iter(engines))!r} runs the model without LoRA adapters")
    return next(iter(engines.values()), None) or torch_engine.build(
        model, spec.model.task, spec.workload, layers
    )

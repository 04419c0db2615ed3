"""A study file → everything a search needs, checked before anything is started or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune import constraints, registry
from autotune.config import StudyFile
from autotune.demo.cache import demo_model
from autotune.device import Device, detect
from autotune.energy import find_counter
from autotune.errors import InputError
from autotune.messages import ModelRef, Workload
from autotune.metrics import METRICS, Direction, Family, default_objectives
from autotune.recipe import Recipe, RecipeKeys, keys
from autotune.registry import Registry
from autotune.space import Pool, build_pool
from autotune.workload.model import read_config, resolve
from autotune.workload.paths import CACHE_VARIABLE, cache_directory, require_writable
from autotune.workload.text import build_workload

DEMO_MODELS = {"demo": "small", "demo-tiny": "tiny"}
"""Names that stand for a model which autotune trains itself."""

SPACE = "space"
"""Key of a stored definition: what the plugins offered when the study began."""

OnDemoProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """A search that can start."""

    study: StudyFile
    name: str
    model: ModelRef
    device: Device
    registry: Registry
    pool: Pool
    workload: Workload
    objectives: tuple[str, ...]
    constraints: tuple[constraints.Constraint, ...]
    notes: tuple[str, ...]
    """What a person should know before it starts, e.g. an objective that cannot be measured."""
    directory: Path
    """The study's folder: logs, front.json, report."""
    cache: Path

    def definition(self) -> dict[str, Any]:
        """What makes the study what it is: the study file's part, and what its plugins offer."""
        offered = {
            name: {param: f"{p.describe()} ({p.stage})" for param, p in plugin.params.items()}
            for name, plugin in self.registry.plugins.items()
        }
        return {**self.study.definition(), SPACE: offered}

    @property
    def directions(self) -> list[Direction]:
        """Which way each objective is better."""
        return [METRICS[name].direction for name in self.objectives]

    def keys(self, recipe: Recipe) -> RecipeKeys:
        """The three identities of a recipe."""
        return keys(recipe, self.registry.plugins, self.registry.distributions)


def make_plan(study: StudyFile, output: Path, on_demo_progress: OnDemoProgress) -> Plan:
    """Checks everything that can be wrong with a study.

    Args:
        study: The study file, or what the command line says.
        output: Folder under which the study's own folder is made.
        on_demo_progress: Told how far the training of the demo model is, if it is needed.

    Raises:
        InputError: Something is wrong; nothing was written (but a demo model that was trained
            stays in the cache).
    """
    device = detect(study.device)
    chosen = registry.installed().select(study.plugins)
    restrictions = study.plugins or {}
    _check_restrictions(chosen, restrictions)
    cache = cache_directory()
    require_writable(cache, "the cache", f"set {CACHE_VARIABLE} to a folder that can be")
    require_writable(output, "the output folder", "name another one with --output")
    model = _model(study, cache, on_demo_progress)
    objectives, notes = _objectives(study, model, device)
    config = read_config(Path(model.path))
    pool = build_pool(
        chosen, restrictions, task=model.task, model_config=config, device=device, seed=study.seed
    )
    name = study.name or default_name(study.model, device)
    return Plan(
        study=study,
        name=name,
        model=model,
        device=device,
        registry=chosen,
        pool=pool,
        workload=build_workload(study.workload, model, study.seed),
        objectives=objectives,
        constraints=_constraints(study, model),
        notes=(*notes, *_pool_notes(pool)),
        directory=output / name,
        cache=cache,
    )


def default_name(model: str, device: Device) -> str:
    """``demo-cpu`` for the model ``demo`` or ``some/where/demo`` on a CPU."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(model).name)
    return f"{stem.strip('._-') or 'model'}-{device.kind}"


def _check_restrictions(chosen: Registry, restrictions: object) -> None:
    """Unknown params and values are found before a demo model is trained for minutes."""
    from autotune.space import variants

    assert isinstance(restrictions, dict)
    for name, allowed in restrictions.items():
        for _ in variants(chosen.get(name), allowed):
            break


def _model(study: StudyFile, cache: Path, on_demo_progress: OnDemoProgress) -> ModelRef:
    path = study.model
    if path in DEMO_MODELS and not Path(path).is_dir():
        path = str(demo_model(DEMO_MODELS[path], cache=cache, progress=on_demo_progress))
    found = resolve(path, task=study.task, trust_remote_code=study.trust_remote_code)
    return found.model_copy(update={"name": study.model})


def _objectives(
    study: StudyFile, model: ModelRef, device: Device
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The objectives that can be measured here, and what to say about those that cannot."""
    wanted = study.objectives or default_objectives(model.task, device.kind)
    counter = find_counter(device)
    dropped = [n for n in wanted if isinstance(counter, str) and _is_energy(n)]
    kept = tuple(n for n in wanted if n not in dropped)
    _check_measured(kept, model, device, "objective")
    if not kept:
        raise InputError(
            f"none of the objectives {', '.join(wanted)} can be measured here: {counter}"
        )
    return kept, tuple(
        f"objective {n} is dropped, energy is not measured: {counter}" for n in dropped
    )


def _is_energy(name: str) -> bool:
    return METRICS[name].family is Family.ENERGY


def _constraints(study: StudyFile, model: ModelRef) -> tuple[constraints.Constraint, ...]:
    found = constraints.parse_all(study.constraints)
    device = detect(study.device)
    _check_measured([c.metric for c in found], model, device, "constraint")
    counter = find_counter(device)
    for constraint in found:
        if isinstance(counter, str) and _is_energy(constraint.metric):
            raise InputError(f"the constraint {constraint} cannot be checked here: {counter}")
    return found


def _check_measured(
    names: tuple[str, ...] | list[str], model: ModelRef, device: Device, what: str
) -> None:
    for name in names:
        metric = METRICS[name]
        if metric.tasks and model.task not in metric.tasks:
            raise InputError(
                f"the {what} {name} is not measured for {model.task} models; choose one that is: "
                f"{', '.join(m.name for m in METRICS.values() if model.task in m.tasks)}"
            )
        if name.startswith("device_") and device.kind == "cpu":
            raise InputError(f"the {what} {name} needs a GPU; on a CPU use host_model_peak_bytes")


def _pool_notes(pool: Pool) -> tuple[str, ...]:
    if len(pool.recipes) < 2:
        reasons = "; ".join(f"{r.plugin}: {r.reason}" for r in pool.refusals[:5])
        raise InputError(
            f"there is nothing to search: no recipe but the baseline can work here ({reasons}); "
            "name other plugins or values"
        )
    if pool.combinations > len(pool.recipes):
        return (
            f"{pool.combinations:,} combinations; the search chooses among "
            f"{len(pool.recipes):,} of them, drawn at random or free of conflicts",
        )
    return ()

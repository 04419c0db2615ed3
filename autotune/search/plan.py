"""A study file → everything a search needs, checked before anything is started or written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotune import registry
from autotune.config import StudyFile
from autotune.constraints import Constraint
from autotune.demo.cache import demo_model
from autotune.device import Device
from autotune.hashing import canonical_json, sha256_json
from autotune.messages import ModelRef, RecipeDict, Workload
from autotune.metrics import METRICS, Direction, objective
from autotune.params import Params
from autotune.recipe import Recipe, RecipeKeys, keys
from autotune.registry import Registry
from autotune.search.goals import find_goals
from autotune.search.sampler import check_sampler
from autotune.search.study_pool import PoolMaker, pool_notes
from autotune.search.target import Target
from autotune.space import Pool, gpus_of
from autotune.study_plugins import checked_plugins, first_recipes
from autotune.workload.model import read_config, resolve
from autotune.workload.paths import CACHE_VARIABLE, cache_directory, require_writable
from autotune.workload.tasks import check_tasks, read_tasks
from autotune.workload.text import build_workload, read_texts

DEMO_MODELS = {"demo": "small", "demo-tiny": "tiny"}
"""Names that stand for a model which autotune trains itself."""

OnDemoProgress = Callable[[float, str], None]


@dataclass(frozen=True)
class Plan:
    """A search that can start."""

    study: StudyFile
    name: str
    model: ModelRef
    device: Device
    environment: dict[str, str]
    """What the trials run on, as it is kept with their numbers."""
    registry: Registry
    pool: Pool
    workload: Workload
    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    notes: tuple[str, ...]
    """What a person should know before it starts, e.g. an objective that cannot be measured."""
    directory: Path
    """The study's folder: logs, front.json, report."""
    cache: Path
    model_config: Mapping[str, Any] = field(default_factory=dict)
    """The model's ``config.json``; plugins estimate their effects from it."""
    try_first: tuple[Recipe, ...] = ()
    """Recipes of the pool that are measured right after the baseline."""

    def definition(self) -> dict[str, Any]:
        """What makes the study what it is: the study file's part, and what the numbers of one
        study must have in common besides the environment."""
        params = {
            name: {param: f"{p.describe()} ({p.stage})" for param, p in plugin.params.items()}
            for name, plugin in self.registry.plugins.items()
        }
        searched = self.pool.recipes[: len(self.pool.recipes) - len(self.pool.beside)]
        parts = {part for recipe in searched for part in recipe.choices}
        adapters = self.workload.adapters
        return {
            **self.study.definition(),
            "model_files": self.model.fingerprint,
            "texts": self.workload.evaluation_key,
            "tasks": [task.identity for task in self.workload.tasks],
            **({"adapters": [one.identity for one in adapters]} if adapters else {}),
            "installed_plugins": params,
            "feasible_values": sha256_json(sorted(map(canonical_json, parts))),
        }

    @property
    def directions(self) -> list[Direction]:
        """Which way each objective is better."""
        return [METRICS[name].direction for name in self.objectives]

    def keys(self, recipe: Recipe) -> RecipeKeys:
        """The three identities of a recipe."""
        return keys(recipe, self.registry.plugins, self.registry.sources)

    @property
    def memory(self) -> str:
        """The metric that is a trial's peak of memory on the device."""
        return objective("memory", self.model.task, self.device.kind)

    def gpus(self, recipe: RecipeDict) -> int:
        """How many GPUs a trial of a recipe takes; on a CPU 1."""
        if self.device.kind != "cuda":
            return 1
        on = self.registry.plugins
        return max((gpus_of(on[n], p, self.device) for n, p in recipe.items()), default=1)


def make_plan(
    study: StudyFile,
    output: Path,
    on_demo_progress: OnDemoProgress,
    only: Mapping[str, Params] | None = None,
    target: Target | None = None,
) -> Plan:
    """Checks everything that can be wrong with a study; the costly things last.

    Args:
        study: The study file, or what the command line says.
        output: Folder under which the study's own folder is made.
        on_demo_progress: Told how far the training of the demo model is, if it is needed.
        only: One choice to be measured in place of a search.
        target: What the trials will run on; by default this machine's device.

    Raises:
        InputError: Something is wrong; nothing was written (but a demo model that was trained
            stays in the cache).
    """
    target = target or Target.here(study.device)
    device = target.device
    chosen = checked_plugins(study) if only is None else registry.installed().select(only)
    check_sampler(study.sampler)
    recipe = None if only is None else Recipe.of(only, chosen.plugins)
    first = first_recipes(study, chosen.plugins) if recipe is None else ()
    cache = cache_directory()
    require_writable(cache, "the cache", f"set {CACHE_VARIABLE} to a folder that can be")
    require_writable(output, "the output folder", "name another one with --output")
    read_texts(study.workload)
    tasks = read_tasks(study.workload.task_files)
    if study.model in DEMO_MODELS:
        find_goals(study, "causal-lm", target)  # before minutes of training
    model = find_model(study, cache, on_demo_progress)
    check_tasks(tasks, model)
    goals = find_goals(study, model.task, target)
    maker = PoolMaker(study, chosen, model, device)
    pool = maker.search(first) if recipe is None else maker.one(recipe)
    name = study.name or default_name(study.model, device.kind)
    workload = build_workload(study.workload, model, study.seed)
    return Plan(
        study=study,
        name=name,
        model=model,
        device=device,
        environment=target.environment,
        registry=chosen,
        pool=pool,
        workload=workload.model_copy(update={"tasks": tasks}),
        objectives=goals.objectives,
        constraints=goals.constraints,
        notes=(*goals.notes, *pool_notes(pool, chosen)),
        directory=output / name,
        cache=cache,
        model_config=read_config(Path(model.path)),
        try_first=first,
    )


def check_study(study: StudyFile) -> None:
    """Finds what is wrong with a study whatever it runs on: plugins, values, texts, tasks.

    Raises:
        InputError: Something is.
    """
    checked_plugins(study)
    check_sampler(study.sampler)
    read_texts(study.workload)
    read_tasks(study.workload.task_files)


def default_name(model: str, device_kind: str) -> str:
    """``demo-cpu`` for the model ``demo`` or ``some/where/demo`` on a CPU."""
    stem = "".join(c if c.isalnum() or c in "._-" else "-" for c in Path(model).name)
    return f"{stem.strip('._-') or 'model'}-{device_kind}"


def find_model(study: StudyFile, cache: Path, on_demo_progress: OnDemoProgress) -> ModelRef:
    """The study's model; a demo model is trained if it is not in the cache yet.

    Raises:
        InputError: There is no such model, or its files are missing or broken.
    """
    path = study.model
    if path in DEMO_MODELS and not Path(path).is_dir():
        path = str(demo_model(DEMO_MODELS[path], cache=cache, progress=on_demo_progress))
    found = resolve(path, task=study.task, trust=study.trust)
    return found.model_copy(update={"name": study.model})

"""Measures the cells of a dispatch table, each by a whole trial beside the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from autotune.constraints import explain, parse_all
from autotune.dispatch.table import Cell, DispatchTable, Point, make_cell
from autotune.errors import InputError
from autotune.execute.base import OnProgress
from autotune.execute.local import LocalExecutor
from autotune.messages import Metrics, RecipeDict, TrialResult, TrialSpec
from autotune.metrics import Family, metric
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.report.front_file import autotune_version
from autotune.report.summary import StudySummary
from autotune.search.plan import Plan
from autotune.search.single import make_spec, usable_baseline
from autotune.space import merge
from autotune.workload.adapters import refuse_adapters

BATCH = "batch"
"""The plugin whose ``size`` a request brings itself."""


def find_points(
    summary: StudySummary,
    names: Sequence[str],
    constraints: Sequence[str],
    plugins: Mapping[str, Plugin],
) -> tuple[Point, ...]:
    """The points that may serve; of those that differ in the batch size alone, the first.

    Args:
        summary: The study.
        names: Picks, ``baseline``, numbers of trials or expressions; empty for all picks.
        constraints: Limits, e.g. ``kld_mean_nats<=0.05``.
        plugins: All that are installed.

    Raises:
        InputError: A name is unknown, no point keeps the limits, or one sets something of the
            device.
    """
    limits, found = parse_all(constraints), dict[Recipe, Point]()
    chosen = {name: summary.choose(name) for name in names} if names else summary.picks
    for name, point in chosen.items():
        recipe = {plugin: dict(v) for plugin, v in point.recipe.items() if plugin != BATCH}
        if not explain(limits, point.metrics):
            made = Point(
                name=name, number=point.number, recipe=recipe, accuracy=accuracy(point.metrics)
            )
            found.setdefault(Recipe.from_dict(recipe), made)
    if not found:
        raise InputError(
            f"none of the points ({', '.join(chosen) or 'no pick'}) keeps the limits "
            f"({', '.join(constraints) or 'none'}); name others with --points, or looser limits"
        )
    refuse_device_settings(tuple(found.values()), plugins)
    return tuple(found.values())


def refuse_device_settings(
    points: Sequence[Point],
    plugins: Mapping[str, Plugin],
    remedy: str = "choose other points with autotune dispatch --points",
) -> None:
    """Whoever serves holds no guardian (``autotune.power``) that would set and restore them.

    Args:
        points: Those that are to serve.
        plugins: All that are installed.
        remedy: What to do instead.

    Raises:
        InputError: A point was measured with a power limit, clock or governor of its own.
    """
    for point in points:
        known = {name: p for name, p in point.recipe.items() if name in plugins}
        asked = merge(known, plugins, lambda p, v: p.device_settings(v), "device setting")
        if asked:
            words = ", ".join(f"{name}={value}" for name, value in asked.items())
            raise InputError(
                f"the point {point.name!r} was measured while {words} was set of the device, "
                f"which no server sets: it would run otherwise than it was measured; {remedy}"
            )


def accuracy(metrics: Metrics) -> Metrics:
    """What a study has measured of a recipe's accuracy."""
    return {n: found for n, found in metrics.items() if metric(n).family is Family.ACCURACY}


def measure_cells(
    plan: Plan,
    points: Sequence[Point],
    batch_sizes: Sequence[int],
    objective: str,
    on_progress: OnProgress,
) -> Iterator[Cell]:
    """Measures every point at every batch size, for prompts of one length.

    Args:
        plan: The study's, with prompts of this length; its registry holds all plugins.
        points: Those that may serve.
        batch_sizes: Sequences of a request.
        objective: The metric to choose by.
        on_progress: Told what the running trial does.

    Raises:
        InputError: The model answers no prompts, or a batch size is not allowed.
        AutotuneError: The baseline cannot be measured.
    """
    if plan.model.task != "causal-lm":
        raise InputError(f"only causal-lm models answer prompts, not {plan.model.task}")
    refuse_adapters(plan.workload, "a table is for requests to one model, and")
    # All sizes of a point in a row: they share its prepared process.
    trials = [(p, n, with_batch(plan, p.recipe, n)) for p in points for n in batch_sizes]
    found: dict[int, dict[str, TrialResult]] = {size: {} for size in batch_sizes}
    with closing(LocalExecutor(plan.registry, on_progress)) as executor:
        spec = cell_spec(plan, 0, {}, objective)
        baseline = usable_baseline(_run(executor, spec))
        for number, (point, size, recipe) in enumerate(trials, start=1):
            if recipe.is_baseline:
                found[size][point.name] = baseline
                continue
            spec = cell_spec(plan, number, recipe.to_dict(), objective, baseline.metrics)
            found[size][point.name] = _run(executor, spec)
    length = plan.workload.prompt_tokens
    for size, results in found.items():
        yield make_cell(size, length, objective, results)


def _run(executor: LocalExecutor, spec: TrialSpec) -> TrialResult:
    executor.submit(spec)
    return executor.wait()


def with_batch(plan: Plan, recipe: RecipeDict, size: int) -> Recipe:
    """A point's recipe with the batch size of a request.

    Raises:
        InputError: The plugin ``batch`` does not allow it.
    """
    return Recipe.of({**recipe, BATCH: {"size": size}}, plan.registry.plugins)


def cell_spec(
    plan: Plan,
    number: int,
    recipe: RecipeDict,
    objective: str,
    baseline: Metrics | None = None,
) -> TrialSpec:
    """A trial that measures speed, memory and, if that is the objective, energy. Its accuracy is
    known from the study, whose limits it does not have to keep at another size."""
    spec = make_spec(plan, number, Recipe.from_dict(recipe), baseline=baseline, known_accuracy={})
    folder = f"dispatch/prompt{plan.workload.prompt_tokens}"
    return spec.model_copy(
        update={
            "constraints": (),
            "objectives": (objective,),
            "directory": f"{spec.directory}/{folder}",
        }
    )


def make_table(
    plan: Plan,
    keys: Mapping[str, Any],
    points: Sequence[Point],
    cells: Sequence[Cell],
    objective: str,
    constraints: Sequence[str],
) -> DispatchTable:
    """Puts the file together.

    Args:
        plan: Of any of its prompt lengths.
        keys: The study's own.
        points: Those that may serve.
        cells: As measured.
        objective: The metric that they were chosen by.
        constraints: The limits that all points keep.
    """
    # Without allow_power_changes: a point that would need it is refused.
    kept = ("measure", "seed", "trust_remote_code", "allow_pickle")
    return DispatchTable(
        autotune_version=autotune_version(),
        created_at=datetime.now(UTC),
        study=plan.name,
        keys={name: keys[name] for name in kept if name in keys}
        | {"model": plan.model.path, "task": plan.model.task, "device": plan.study.device}
        | {"workload": _workload(keys)},
        model_fingerprint=plan.model.fingerprint,
        environment=plan.environment,
        objective=objective,
        unit=metric(objective).unit,
        constraints=tuple(constraints),
        new_tokens=plan.workload.new_tokens,
        points=tuple(points),
        cells=tuple(cells),
    )


def _workload(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The study's own, to be found from any folder; a server runs no tasks."""
    given = {name: value for name, value in keys["workload"].items() if name != "task_files"}
    texts = ("evaluation_text", "calibration_text")
    absolute = {name: str(Path(given[name]).absolute()) for name in texts if given.get(name)}
    return given | absolute

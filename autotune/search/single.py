"""One recipe measured beside the baseline, outside any study."""

from __future__ import annotations

from contextlib import closing

from autotune import registry
from autotune.errors import AutotuneError
from autotune.execute.base import OnProgress
from autotune.execute.local import LocalExecutor
from autotune.front import task_metrics
from autotune.messages import TASK_RUN, Metrics, Rivals, TrialResult, TrialSpec
from autotune.outcome import Lesson, lesson
from autotune.recipe import Recipe
from autotune.search.plan import Plan


def measure_recipe(
    plan: Plan, recipe: Recipe, on_progress: OnProgress
) -> tuple[TrialResult, TrialResult]:
    """Measures the baseline and then the recipe.

    Returns:
        The baseline's result and the recipe's (twice the same for the baseline itself).

    Raises:
        AutotuneError: The baseline cannot be measured.
    """
    with closing(LocalExecutor(registry.installed(), on_progress)) as executor:
        baseline = measure_baseline(plan, executor)
        if recipe.is_baseline:
            return baseline, baseline
        spec = make_spec(plan, 1, recipe, baseline=baseline.metrics)
        return baseline, _measured(plan, executor, spec)


def measure_baseline(plan: Plan, executor: LocalExecutor) -> TrialResult:
    """The baseline as trial 0.

    Raises:
        AutotuneError: It cannot be measured.
    """
    return usable_baseline(_measured(plan, executor, make_spec(plan, 0, Recipe())))


def usable_baseline(baseline: TrialResult) -> TrialResult:
    """The baseline's result, if others can be compared with it.

    Raises:
        AutotuneError: It could not be measured.
    """
    if not baseline.blocks:
        raise AutotuneError(
            f"the baseline cannot be measured ({baseline.outcome}): {baseline.explanation}; "
            f"see {baseline.log}"
        )
    return baseline


def _measured(plan: Plan, executor: LocalExecutor, spec: TrialSpec) -> TrialResult:
    """A trial, and then its tasks, if the plan has any and it gave numbers."""
    executor.submit(spec)
    result = executor.wait()
    if not plan.workload.tasks or lesson(result.outcome) is Lesson.REJECT:
        return result
    executor.submit(spec.model_copy(update={"tasks_only": True, "constraints": ()}))
    run = executor.wait()
    return result.model_copy(
        update={
            "metrics": result.metrics | task_metrics({TASK_RUN: run}),
            "tasks": run.tasks,
            "phase_seconds": result.phase_seconds | {"tasks": sum(run.phase_seconds.values())},
        }
    )


def make_spec(
    plan: Plan,
    number: int,
    recipe: Recipe,
    *,
    baseline: Metrics | None = None,
    known_accuracy: Metrics | None = None,
    rivals: Rivals | None = None,
) -> TrialSpec:
    """Everything that an executor needs to know of a trial."""
    keys = plan.keys(recipe)
    return TrialSpec(
        study=plan.name,
        number=number,
        recipe=recipe.to_dict(),
        recipe_key=keys.recipe_key,
        setup_key=keys.setup_key,
        output_key=keys.output_key,
        model=plan.model,
        workload=plan.workload,
        device=plan.device,
        gpus=plan.gpus(recipe.to_dict()),
        settings=plan.study.measure,
        known_accuracy=known_accuracy,
        baseline=baseline,
        objectives=plan.objectives,
        constraints=plan.study.constraints,
        rivals=rivals or {},
        seed=plan.study.seed,
        directory=str(plan.directory.absolute()),
        cache_directory=str(plan.cache.absolute()),
    )

"""``autotune bench``: measure one recipe beside the baseline, without a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.messages import TrialResult, Workload


def bench(
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="plugin.param=value; may be repeated. None: the baseline."),
    ] = None,
    model: options.Model = None,
    study: Annotated[Path | None, typer.Option(help="Take model and workload from here.")] = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    task_file: options.TaskFiles = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    allow_power_changes: options.AllowPowerChanges = False,
    json: options.AsJson = False,
) -> None:
    """Measure one recipe beside the baseline; nothing is stored but the log.

    Example: autotune bench --model demo --set batch.size=8 --set precision.dtype=bfloat16
    """
    given = {
        "model": model,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "workload.prompt_tokens": prompt_tokens,
        "workload.new_tokens": new_tokens,
        "workload.evaluation_text": str(text) if text else None,
        "workload.task_files": task_file,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
        "allow_power_changes": allow_power_changes,
    }
    _measure_and_print(study, given, setting or [], output, json)


def _measure_and_print(
    study: Path | None, given: dict[str, Any], settings: list[str], output: Path, json: bool
) -> None:
    """Measures the baseline, then the recipe if it is another, and prints them."""
    from autotune.cli.show import make_console
    from autotune.launch.demo_progress import training_bar
    from autotune.launch.heartbeat import shown_phases
    from autotune.recipe import Recipe
    from autotune.search.plan import make_plan
    from autotune.search.single import measure_recipe

    chosen = options.parse_settings(settings)
    wanted = options.study_of(study, given)
    wanted = wanted.model_copy(update={"name": "bench", "plugins": None})
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar, only=chosen)
    recipe = Recipe.of(chosen, plan.registry.plugins)
    console = make_console(stderr=True)
    console.print("measuring the recipe beside the baseline")
    with shown_phases(console) as show:
        baseline, result = measure_recipe(plan, recipe, show)
    if json:
        typer.echo(result.model_dump_json(indent=2, exclude={"blocks"}))
    else:
        _print_table(baseline, result, str(recipe), plan.workload)
    if not result.metrics or result.outcome not in ("ok", "infeasible"):
        raise typer.Exit(1)


def _print_table(
    baseline: TrialResult, result: TrialResult, title: str, workload: Workload
) -> None:
    from autotune.cli.show import make_console
    from autotune.front import task_verdict
    from autotune.metrics import METRICS
    from autotune.report.console import plain_table
    from autotune.report.format import measured, ratio

    beside = {} if result is baseline else baseline.metrics
    table = plain_table(f"{title}: {result.outcome}", "metric", title)
    if beside:
        table.add_column("baseline")
        table.add_column("ratio")
    missing = []
    for name in METRICS:
        found, other = result.metrics.get(name), beside.get(name)
        only_baseline = found is None and other is not None and other.value is not None
        if only_baseline or (found is not None and found.value is not None):
            compared = (measured(name, other), ratio(name, found, other))
            table.add_row(name, measured(name, found), *(compared if beside else ()))
        elif found is not None:
            missing.append(f"{name}: not measured: {found.reason}")
    console = make_console()
    console.print(table)
    for line in missing:
        console.print(line, markup=False)
    fallbacks = [f"fallback: {words}" for words in result.fallbacks]
    told = (
        result.explanation,
        task_verdict(result.metrics) if beside else "",
        *fallbacks,
        *result.notes,
        *_traffic(workload),
        *_roof(baseline, result),
        f"log: {result.log}",
    )
    for line in filter(None, told):
        console.print(line, markup=False)


def _traffic(workload: Workload) -> list[str]:
    if (traffic := workload.traffic) is None:
        return []
    return [f"measured with {traffic.in_words(workload.prompt_tokens, workload.new_tokens)}"]


def _roof(baseline: TrialResult, result: TrialResult) -> list[str]:
    from autotune import roof
    from autotune.report.roof import device_rates

    rates = device_rates(baseline.metrics)
    bounds = roof.what_bounds(result.metrics, baseline.metrics)
    return [f"bound by {bounds}"] * bool(bounds) + [f"this device: {rates}"] * bool(rates)

"""``autotune reproduce``: measure a stored trial again and say whether its numbers hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.search.reproduce import Check


def reproduce(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    trial: Annotated[int, typer.Argument(help="Number of the trial; see autotune pareto.")],
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Fresh processes to measure in; default: as the study did."),
    ] = None,
    allow_different_env: options.AllowDifferentEnv = False,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Measure a trial again in fresh processes and say whether its stored numbers hold.

    Example: autotune reproduce demo 5
    """
    from autotune.cli.show import make_console
    from autotune.environment import compare_environments
    from autotune.launch.demo_progress import training_bar
    from autotune.launch.heartbeat import shown_phases
    from autotune.recipe import describe
    from autotune.search.plan import make_plan
    from autotune.search.reproduce import measure_again
    from autotune.store.store import Store

    with Store.open_existing(options.database_url(database, output)) as store:
        record, trials = store.study(study), store.trials(study, blocks=False)
        stored = store.trial(study, trial)
    wanted = options.study_of(None, {}, options.stored_keys(record))
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar, only=stored.recipe)
    console = make_console(stderr=True)
    for line in compare_environments(
        record.environment, plan.environment, allow_different=allow_different_env
    ):
        console.print(line, markup=False)
    again = max(1, wanted.confirm.processes)
    count = processes or again
    where = f"{count} fresh processes" if count > 1 else "a fresh process"
    console.print(f"measuring #{trial} in {where}, beside the baseline")
    with shown_phases(console) as show:
        checks = measure_again(plan, trials, trial, count, show)
    if json:
        _print_json(checks)
    else:
        recipe = next(t.recipe for t in trials if t.number == trial)
        print_checks(checks, f"{study} #{trial}: {describe(recipe)}", plan.objectives)
    if not all(check.holds for check in checks if check.metric in plan.objectives):
        raise typer.Exit(1)


def _print_json(checks: list[Check]) -> None:
    import json

    typer.echo(json.dumps(rows_of(checks), indent=2))


def rows_of(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """For JSON."""
    return [
        {
            "metric": check.metric,
            "holds": check.holds,
            "stored": check.stored.model_dump(mode="json"),
            "now": check.now.model_dump(mode="json"),
        }
        for check in checks
    ]


def print_checks(checks: Sequence[Check], title: str, objectives: Sequence[str]) -> None:
    """What is stored beside what was found now, and a summary.

    Args:
        checks: For each metric.
        title: Of the table.
        objectives: Those that decide.
    """
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table
    from autotune.search.reproduce import comparable

    table = plain_table(title, "metric", "stored", "its interval", "now", "")
    for check in checks:
        stored, now = comparable(check.stored), comparable(check.now)
        is_ratio = stored.unit == "ratio" != check.stored.unit
        show = partial(_shown, None if is_ratio else check.metric)
        ends = [show(end) for end in (stored.low, stored.high) if end is not None]
        table.add_row(
            check.metric + (" (ratio)" if is_ratio else ""),
            show(stored.value),
            f"\\[{', '.join(ends)}]",
            show(now.value),
            _verdict(check),
        )
    console = make_console()
    console.print(table)
    console.print(_summary(checks, objectives), markup=False)


def _shown(name: str | None, value: float | None) -> str:
    from autotune.report.format import digits, quantity

    if name is None:
        return "" if value is None else digits(value)
    return quantity(name, value)


def _verdict(check: Check) -> str:
    if check.inside and check.unsure:
        return "[yellow]holds[/], in an interval too wide to tell (grade C)"
    if check.inside:
        return "[green]holds[/]"
    if check.holds:
        return "[green]holds[/]: closer than it resolves"
    return "[yellow]outside[/], and better" if check.better else "[yellow]outside[/]"


def _summary(checks: Sequence[Check], objectives: Sequence[str]) -> str:
    holding = sum(check.holds for check in checks)
    lost = [check.metric for check in checks if not check.holds and check.metric in objectives]
    words = f"{holding} of {len(checks)} numbers hold"
    if wide := sum(check.inside and check.unsure for check in checks):
        words += f", {wide} of them in an interval too wide to tell"
    return f"{words}; objectives outside: {', '.join(lost) or 'none'}"

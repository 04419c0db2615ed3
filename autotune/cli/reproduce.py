"""``autotune reproduce``: measure a stored trial again and say whether its numbers hold."""

from __future__ import annotations

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
    from autotune.cli.demo_progress import training_bar
    from autotune.cli.heartbeat import shown_phases
    from autotune.cli.show import make_console
    from autotune.environment import compare_environments
    from autotune.search.plan import make_plan
    from autotune.search.reproduce import measure_again
    from autotune.store.store import Store

    with Store.open_existing(options.database_url(database, output)) as store:
        record, trials = store.study(study), store.trials(study)
        store.trial(study, trial)
    wanted = options.study_of(None, {}, options.stored_keys(record))
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar)
    console = make_console(stderr=True)
    for line in compare_environments(
        record.environment, plan.environment, allow_different=allow_different_env
    ):
        console.print(line, markup=False)
    again = max(1, wanted.confirm.processes)
    count = processes or again
    console.print(f"measuring #{trial} in {count} fresh processes, beside the baseline")
    with shown_phases(console) as show:
        checks = measure_again(plan, trials, trial, count, show)
    if json:
        _print_json(checks)
    else:
        _print_table(checks, study, trial)
    if not all(check.holds for check in checks if check.metric in plan.objectives):
        raise typer.Exit(1)


def _print_json(checks: list[Check]) -> None:
    import json

    rows: list[dict[str, Any]] = [
        {
            "metric": check.metric,
            "holds": check.holds,
            "stored": check.stored.model_dump(mode="json"),
            "now": check.now.model_dump(mode="json"),
        }
        for check in checks
    ]
    typer.echo(json.dumps(rows, indent=2))


def _print_table(checks: list[Check], study: str, trial: int) -> None:
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table
    from autotune.report.format import digits
    from autotune.search.reproduce import comparable

    table = plain_table(f"{study} #{trial}", "metric", "stored", "its interval", "now", "")
    for check in checks:
        stored, now = comparable(check.stored), comparable(check.now)
        ends = [digits(end) for end in (stored.low, stored.high) if end is not None]
        table.add_row(
            check.metric + (" (ratio)" if stored.unit == "ratio" != check.stored.unit else ""),
            digits(stored.value) if stored.value is not None else "",
            f"\\[{', '.join(ends)}]",
            digits(now.value) if now.value is not None else "",
            "[green]holds[/]" if check.holds else "[yellow]outside[/]",
        )
    make_console().print(table)

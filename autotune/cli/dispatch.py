"""``autotune dispatch``: measure which point of a front serves which size of request."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.errors import InputError

if TYPE_CHECKING:
    from autotune.dispatch.table import Cell, DispatchTable
    from autotune.search.plan import Plan
    from autotune.store.records import StudyRecord


def dispatch(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    points: Annotated[
        str,
        typer.Option(
            help="Picks, numbers of trials, baseline, expressions (autotune pareto --pick); by "
            "default all picks."
        ),
    ] = "",
    batch_sizes: Annotated[str, typer.Option(help="Sequences of a request.")] = "1,4,16",
    prompt_lengths: Annotated[str, typer.Option(help="Tokens of each prompt.")] = "32,128",
    new_tokens: options.NewTokens = None,
    objective: Annotated[
        str, typer.Option(help="The metric by which a point is chosen.")
    ] = "e2e_latency_seconds",
    constraint: Annotated[
        list[str] | None, typer.Option(help="Limit on a point, e.g. 'kld_mean_nats<=0.05'.")
    ] = None,
    allow_different_env: options.AllowDifferentEnv = False,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Measure points of a front at several sizes of request, and say which serves which.

    The table is written to dispatch.json in the study's folder; autotune.load serves with it.

    Example: autotune dispatch demo --points fastest,smallest --batch-sizes 1,8
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.dispatch.measure import find_points, make_table, measure_cells
    from autotune.dispatch.table import DISPATCH_FILE, write_table
    from autotune.environment import compare_environments
    from autotune.launch.heartbeat import shown_phases
    from autotune.metrics import Family, metric
    from autotune.report.summary import StudySummary
    from autotune.store.store import Store

    if metric(objective).family is Family.ACCURACY:
        raise InputError(f"{objective} does not depend on the request; limit it with --constraint")
    sizes = numbers("--batch-sizes", batch_sizes)
    lengths = numbers("--prompt-lengths", prompt_lengths)
    with Store.open_existing(options.database_url(database, output)) as store:
        record = store.study(study)
        summary = StudySummary.of(record, store.trials(study, blocks=False))
    limits = constraint or []
    names = [name.strip() for name in points.split(",") if name.strip()]
    chosen = find_points(summary, names, limits, registry.installed().plugins)
    given = {"workload.new_tokens": new_tokens}
    plans = [_plan(record, output, given | {"workload.prompt_tokens": n}) for n in lengths]
    console = make_console(stderr=True)
    for line in compare_environments(
        record.environment, plans[0].environment, allow_different=allow_different_env
    ):
        console.print(line, markup=False)
    cells: list[Cell] = []
    for plan in plans:
        words = f"{len(chosen)} points, prompts of {plan.workload.prompt_tokens} tokens"
        console.print(f"measuring {words}", markup=False)
        with shown_phases(console) as show:
            cells += measure_cells(plan, chosen, sizes, objective, show)
    keys = options.stored_keys(record)
    table = make_table(plans[0], keys, chosen, cells, objective, limits)
    path = plans[0].directory / DISPATCH_FILE
    write_table(table, path)
    if json:
        typer.echo(table.model_dump_json(indent=2))
    else:
        _print(table, str(path))


def numbers(option: str, text: str) -> list[int]:
    """``1,4,16`` as numbers.

    Raises:
        InputError: It is something else.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise InputError(f"cannot read {option} {text!r}; expected numbers from 1 on, e.g. 1,4,16")
    return sorted({int(part) for part in parts})


def _plan(record: StudyRecord, output: Any, given: dict[str, Any]) -> Plan:
    from autotune import registry
    from autotune.launch.demo_progress import training_bar
    from autotune.search.plan import make_plan

    study = options.study_of(None, given, options.stored_keys(record))
    with training_bar() as bar:
        return replace(make_plan(study, output, bar, only={}), registry=registry.installed())


def _print(table: DispatchTable, path: str) -> None:
    from autotune.cli.show import make_console
    from autotune.recipe import describe
    from autotune.report.console import plain_table
    from autotune.report.format import measured

    title = f"{table.study}: {table.objective} with {table.new_tokens} new tokens"
    names = [point.name for point in table.points]
    shown = plain_table(title, "batch", "prompt tokens", *names, "served by")
    for cell in table.cells:
        values = [measured(table.objective, cell.measured.get(name)) for name in names]
        tied = f" (or {', '.join(cell.ties)})" if cell.ties else ""
        shown.add_row(
            str(cell.batch_size), str(cell.prompt_tokens), *values, f"{cell.chosen}{tied}"
        )
    console = make_console()
    console.print(shown)
    for point in table.points:
        console.print(f"{point.name}: #{point.number} {describe(point.recipe)}", markup=False)
    for cell in table.cells:
        for name, why in cell.failed.items():
            where = f"batch {cell.batch_size}, {cell.prompt_tokens} prompt tokens"
            console.print(f"{name} at {where}: {why}", markup=False)
    console.print(f"serve with it: autotune.load({path!r})", markup=False)

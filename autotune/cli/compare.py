"""``autotune compare``: two studies side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.report.summary import StudySummary


def compare(
    study_a: Annotated[str, typer.Argument(help="Name of a study; see autotune studies.")],
    study_b: Annotated[str, typer.Argument(help="Name of the other.")],
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    database_b: Annotated[
        str | None, typer.Option(help="Database URL of the other; by default the same.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Put two studies side by side: picks, baselines, and recipes that both measured.

    Each is told against the baseline of its own study; what differs in model, workload, machine,
    versions or settings is said first. Nothing is measured or written.

    Example: autotune compare laptop server --database-b sqlite:///server/autotune.db
    """
    from autotune.cli.show import make_console
    from autotune.report.compare import compare_studies
    from autotune.report.compare_tables import tables, verdict_lines

    url = options.database_url(database, output)
    found = compare_studies(_summary(study_a, url), _summary(study_b, database_b or url))
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    console = make_console()
    for line in verdict_lines(found):
        console.print(line, markup=False, highlight=False)
    for table in tables(found):
        console.print()
        console.print(table)


def _summary(study: str, url: str) -> StudySummary:
    from autotune.errors import InputError
    from autotune.report.summary import StudySummary
    from autotune.store.store import Store

    with Store.open_existing(url) as store:
        summary = StudySummary.of(store.study(study), store.trials(study, blocks=False))
    if not summary.points:
        raise InputError(f"study {study!r} has no measured trial yet: there is nothing to compare")
    return summary

"""``autotune studies``: what is in the database."""

from __future__ import annotations

import typer

from autotune.cli import options


def studies(
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """List the studies of a database.

    Example: autotune studies --json
    """
    from autotune.cli.show import make_console
    from autotune.report.console import studies_table
    from autotune.store.store import Store

    with Store.open_existing(options.database_url(database, output)) as store:
        records, counts = store.studies(), store.outcome_counts()
    if json:
        import json as codec

        rows = [r.model_dump(mode="json") | {"outcomes": counts.get(r.name, {})} for r in records]
        typer.echo(codec.dumps(rows, indent=2))
    else:
        make_console().print(studies_table(records, counts))

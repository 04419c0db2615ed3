"""``autotune migrate``: bring a database to this version's schema."""

from __future__ import annotations

import typer

from autotune.cli import options


def migrate(
    database: options.Database = None, output: options.Output = options.DEFAULT_OUTPUT
) -> None:
    """Bring a database to the schema of this version, or make it; safe to run again.

    Every command does it by itself. A service does it once, before its parts start.

    Example: autotune migrate --database postgresql://user@host/autotune
    """
    from autotune.search.storage import upgrade_database
    from autotune.store.database import parse_url, words

    if database is None:
        output.mkdir(parents=True, exist_ok=True)
    url = options.database_url(database, output)
    upgrade_database(url)
    typer.echo(f"database {words(parse_url(url))} has the schema of this version")

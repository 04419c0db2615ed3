"""``autotune serve token``: who may use the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError

app = typer.Typer(help="Make, list and revoke tokens of the HTTP API.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Of the token; it stands in logs.")]


@app.command("create")
def create(
    name: Name,
    scope: Annotated[
        str, typer.Option(help="read: see; submit: also run own studies; admin: everything.")
    ] = "read",
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Make a token and print it: it is stored as a hash and never shown again.

    Example: autotune serve token create ci --scope submit
    """
    from autotune.store.store import Store
    from autotune.store.tokens import Scope, Tokens

    if scope not in list(Scope):
        raise InputError(f"--scope: no scope named {scope!r}; allowed: {', '.join(Scope)}")
    if database is None:
        output.mkdir(parents=True, exist_ok=True)
    with Store.open(options.database_url(database, output)) as store:
        made = Tokens(store).create(name, Scope(scope))
    if json:
        import json as codec

        typer.echo(codec.dumps({"name": name, "scope": scope, "token": made}))
        return
    typer.echo(made)
    typer.echo("keep it now: it is never shown again", err=True)


@app.command("list")
def list_tokens(
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """List the tokens, without their secrets.

    Example: autotune serve token list
    """
    from autotune.cli.show import make_console
    from autotune.report.console import plain_table
    from autotune.store.store import Store
    from autotune.store.tokens import Tokens

    with Store.open_existing(options.database_url(database, output)) as store:
        tokens = Tokens(store).all()
    if json:
        import json as codec

        typer.echo(codec.dumps([token.model_dump(mode="json") for token in tokens], indent=2))
        return
    table = plain_table("tokens")
    for column in ("name", "scope", "made (UTC)", "state"):
        table.add_column(column)
    for token in tokens:
        made = f"{token.created_at:%Y-%m-%d %H:%M}"
        table.add_row(token.name, token.scope, made, "revoked" if token.revoked_at else "valid")
    make_console().print(table)


@app.command("revoke")
def revoke(
    name: Name,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
) -> None:
    """Take a token's rights away, from the next request on.

    Example: autotune serve token revoke ci
    """
    from autotune.store.store import Store
    from autotune.store.tokens import Tokens

    with Store.open_existing(options.database_url(database, output)) as store:
        Tokens(store).revoke(name)
    typer.echo(f"revoked: {name}")

"""``autotune dashboard``: review studies in the browser."""

from __future__ import annotations

import importlib.util
from typing import Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError

DEFAULT_PORT = 8081
"""``autotune serve`` has 8080."""


def dashboard(
    study: Annotated[
        str | None, typer.Argument(help="Open this one; by default the list of all studies.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = DEFAULT_PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option(
            "--allow-remote", help="Listen where others can reach it: there is no login."
        ),
    ] = False,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
) -> None:
    """Review studies in the browser: trials, notes, plots, files. Ctrl-C ends it.

    It reads the database and keeps nothing there but what people write as notes; a search may
    run meanwhile.

    Example: autotune dashboard demo-cpu --open
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise InputError("the dashboard needs optuna-dashboard: pip install 'autotune[dashboard]'")
    from autotune.dashboard.server import is_loopback, serve

    if ":" in host:
        raise InputError(f"--host {host}: the dashboard listens on IPv4 only; give 127.0.0.1")
    if not (allow_remote or is_loopback(host)):
        tunnel = port or DEFAULT_PORT
        raise InputError(
            f"--host {host} can be reached from elsewhere, and the dashboard has no login: "
            "whoever reaches it reads every study and writes notes; keep 127.0.0.1 and tunnel to "
            f"it (ssh -L {tunnel}:127.0.0.1:{tunnel} THIS_MACHINE), or say --allow-remote"
        )

    def ready(url: str) -> None:
        typer.echo(f"dashboard: {url} (Ctrl-C ends it)")
        if open_:
            import threading
            import webbrowser

            # Some browsers are waited for, and nothing is served before this returns.
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()

    serve(options.database_url(database, output), output, study, host, port, ready)
    typer.echo("dashboard: ended")

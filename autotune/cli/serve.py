"""``autotune serve``: the HTTP API, and its tokens."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from autotune.cli import options, token
from autotune.errors import InputError

app = typer.Typer(invoke_without_command=True)
app.add_typer(token.app, name="token")

_FOLDER = "served"
"""Under the output folder: nothing that a request names can meet the database's files."""
_LIBRARIES = ("fastapi", "uvicorn", "prometheus_client", "structlog")


@app.callback()
def serve(
    context: typer.Context,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PATH: a model that a study may name; a checkpoint directory, hub id, demo "
            "or demo-tiny. May be repeated."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 8080,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    broker: options.Broker = None,
    max_running: Annotated[
        int, typer.Option(min=1, help="So many studies run at once; the others wait.")
    ] = 1,
    max_queued: Annotated[int, typer.Option(min=1, help="So many may wait.")] = 100,
    requests_per_second: Annotated[
        float, typer.Option(min=0.01, help="Of each token, in the long run.")
    ] = 20.0,
    burst: Annotated[int, typer.Option(min=1, help="Requests of a token at once.")] = 40,
    max_body_bytes: Annotated[
        int, typer.Option(min=1024, help="Of a request's body.")
    ] = 1_048_576,
    open_metrics: Annotated[
        bool, typer.Option("--open-metrics", help="Let /metrics be read without a token.")
    ] = False,
) -> None:
    """Serve the HTTP API: submit, watch, stop and read studies.

    Studies run in processes of their own, which outlive the service.

    Example: autotune serve --model llama=/models/llama --port 8080
    """
    if context.invoked_subcommand is not None:
        return
    _require_libraries()
    from autotune.service.server import serve as serve_http
    from autotune.service.settings import ServiceSettings, parse_models

    directory = output.absolute() / _FOLDER
    _make(directory)
    settings = ServiceSettings(
        database=options.database_url(database, output.absolute()),
        directory=directory,
        models={name: _checked(name, path) for name, path in parse_models(model or []).items()},
        broker=broker,
        max_running=max_running,
        max_queued=max_queued,
        open_metrics=open_metrics,
        requests_per_second=requests_per_second,
        burst=burst,
        max_body_bytes=max_body_bytes,
    )
    serve_http(settings, host, port)


def _require_libraries() -> None:
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"serve needs {', '.join(missing)}: pip install 'autotune[serve]'")


def _make(directory: Path) -> None:
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the output folder {directory} cannot be made: {error.strerror}; name another one "
            "with --output"
        ) from error


def _checked(name: str, path: str) -> str:
    """A directory by its full path; anything else is a hub id or a demo model's name."""
    if Path(path).is_dir():
        return str(Path(path).absolute())
    if path.startswith((".", "/", "~")):
        raise InputError(f"--model {name}: no directory {path}")
    return path

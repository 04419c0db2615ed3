"""The command ``autotune``."""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import typer

from autotune.cli import (
    baseline,
    bench,
    compare,
    dashboard,
    demo_model,
    dispatch,
    doctor,
    explain,
    export,
    metrics,
    migrate,
    pareto,
    plugins,
    presets,
    record,
    report,
    reproduce,
    search,
    serve,
    studies,
    verify,
    worker,
)
from autotune.errors import AutotuneError, BrokerError, InputError, Interrupted, StoreError

EXIT_FAILED = 1
EXIT_INPUT = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="autotune",
    help="Find the fastest, smallest, greenest way to serve a language model by measuring it.\n\n"
    "Try it: autotune search --model demo --trials 12",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("search")(search.search)
app.command("baseline")(baseline.baseline)
app.command("bench")(bench.bench)
app.command("reproduce")(reproduce.reproduce)
app.command("record")(record.record)
app.command("doctor")(doctor.doctor)
app.command("studies")(studies.studies)
app.command("pareto")(pareto.pareto)
app.command("explain")(explain.explain)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("dashboard")(dashboard.dashboard)
app.command("dispatch")(dispatch.dispatch)
app.command("export")(export.export)
app.command("verify")(verify.verify)
app.add_typer(plugins.app, name="plugins")
app.command("presets")(presets.presets)
app.command("metrics")(metrics.metrics)
app.command("worker")(worker.worker)
app.command("migrate")(migrate.migrate)
app.add_typer(serve.app, name="serve")
app.command("demo-model")(demo_model.demo_model)

PANELS = {
    "Measure": "search baseline bench reproduce record doctor",
    "Look, compare and choose": "studies pareto explain report dashboard compare",
    "Serve": "export verify dispatch",
    "What there is": "plugins presets metrics demo-model",
    "Several machines": "worker serve migrate",
}
"""How ``--help`` groups the commands; others stand under a heading of their own."""

_panel_of = {name: panel for panel, names in PANELS.items() for name in names.split()}
for _command in app.registered_commands:
    _command.rich_help_panel = _panel_of.get(_command.name or "", "Others")
for _group in app.registered_groups:
    _group.rich_help_panel = _panel_of.get(_group.name or "", "Others")


def _print_version(wanted: bool) -> None:
    if wanted:
        import importlib.metadata

        typer.echo(f"autotune {importlib.metadata.version('autotune')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    pass


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Runs a command; an expected error is one message on standard error and an exit code."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app()
    except (InputError, StoreError, BrokerError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_INPUT)
    except (Interrupted, KeyboardInterrupt) as stopped:
        typer.echo(str(stopped) or "stopped", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except AutotuneError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()

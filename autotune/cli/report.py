"""``autotune report``: the HTML report of a study."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from autotune.cli import options


def report(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    file: Annotated[
        Path | None, typer.Option(help="Where to write it; by default OUTPUT/STUDY/report.html.")
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
) -> None:
    """Write a study's report: one HTML file that opens offline.

    Example: autotune report demo-cpu --file front.html
    """
    from autotune.report.html import write_html
    from autotune.report.summary import StudySummary
    from autotune.store.store import Store
    from autotune.workload.paths import require_writable

    path = file or output / study / "report.html"
    require_writable(path.parent, "the folder", "name another file with --file")
    with Store.open_existing(options.database_url(database, output)) as store:
        summary = StudySummary.of(store.study(study), store.trials(study))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_html(summary, path)
    typer.echo(f"saved: {path}")

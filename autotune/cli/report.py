"""``autotune report``: the report of a study, to be read, pasted or computed with."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.report.summary import StudySummary

STDOUT = Path("-")


class Format(StrEnum):
    """What a report can be."""

    HTML = "html"
    MD = "md"
    JSON = "json"
    CSV = "csv"


def report(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    format: Annotated[
        Format,
        typer.Option(
            help="html: one page that opens offline; md: for a pull request; json: everything, "
            "for programs; csv: one row per trial."
        ),
    ] = Format.HTML,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Where to write it, - for the terminal; by default OUTPUT/STUDY/report.FORMAT."
        ),
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
) -> None:
    """Write a study's report: an HTML file that opens offline, Markdown, JSON or CSV.

    Example: autotune report demo-cpu --format md --file -
    """
    from autotune.report.front_file import write_atomically
    from autotune.report.summary import StudySummary
    from autotune.store.state import state_words
    from autotune.store.store import Store
    from autotune.workload.paths import require_writable

    path = file or output / study / f"report.{format.value}"
    if path != STDOUT:
        require_writable(path.parent, "the folder", "name another file with --file")
    url = options.database_url(database, output)
    with Store.open_existing(url) as store:
        record = store.study(study)
        summary = StudySummary.of(
            record, store.trials(study, blocks=False), state_words(url, record)
        )
    text = _text(summary, format)
    if path == STDOUT:
        typer.echo(text, nl=not text.endswith("\n"))
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
    typer.echo(f"saved: {path}")


def _text(summary: StudySummary, format: Format) -> str:
    from autotune.report.csv_file import csv_text
    from autotune.report.html import render_html
    from autotune.report.json_file import report_file
    from autotune.report.markdown_file import markdown_text

    if format is Format.JSON:
        return report_file(summary).model_dump_json(indent=2) + "\n"
    render = {Format.HTML: render_html, Format.MD: markdown_text, Format.CSV: csv_text}
    return render[format](summary)

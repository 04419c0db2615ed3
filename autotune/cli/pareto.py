"""``autotune pareto``: the front and the picks of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from autotune.cli import options
from autotune.cli.state import state_words
from autotune.errors import InputError


def pareto(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Show a study's Pareto front and its picks against the baseline.

    Example: autotune pareto demo-cpu
    """
    from autotune.cli.show import make_console, show_summary
    from autotune.report.front_file import front_file
    from autotune.report.summary import StudySummary
    from autotune.store.records import StudyState
    from autotune.store.store import Store

    url = options.database_url(database, output)
    with Store.open_existing(url) as store:
        summary = StudySummary.of(store.study(study), store.trials(study))
    state = state_words(url, summary.study)
    if not summary.points:
        raise InputError(f"study {study!r} has no measured trial yet; it is {state}")
    if json:
        typer.echo(front_file(summary).model_dump_json(indent=2))
    else:
        console = make_console()
        show_summary(console, summary)
        if summary.study.state is not StudyState.FINISHED:
            console.print(
                f"this study is {state}: more trials or repetitions may change "
                "this; go on with autotune search --resume and the options it was begun with",
                markup=False,
            )

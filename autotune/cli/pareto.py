"""``autotune pareto``: the front and the picks of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError

if TYPE_CHECKING:
    from autotune.report.summary import StudySummary


def pareto(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    pick: Annotated[
        str | None,
        typer.Option(
            help="Show one point: a pick, a trial's number, baseline, or 'max|min METRIC where "
            "METRIC<=NUMBER and METRIC<=NUMBER*baseline'."
        ),
    ] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Show a study's Pareto front and its picks against the baseline.

    Example: autotune pareto demo-cpu --pick "max output_tokens_per_second where
    kld_mean_nats<0.05 and weights_bytes<=0.5*baseline"
    """
    from autotune.cli.show import make_console, show_summary
    from autotune.report.front_file import front_file
    from autotune.report.summary import StudySummary
    from autotune.store.records import StudyState
    from autotune.store.state import state_words
    from autotune.store.store import Store

    url = options.database_url(database, output)
    with Store.open_existing(url) as store:
        record = store.study(study)
        state = state_words(url, record)
        summary = StudySummary.of(record, store.trials(study, blocks=False), state)
    if not summary.points:
        raise InputError(f"study {study!r} has no measured trial yet; it is {state}")
    if pick is not None:
        _show_pick(summary, pick, json)
    elif json:
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


def _show_pick(summary: StudySummary, text: str, json: bool) -> None:
    from autotune.cli.show import make_console
    from autotune.front import metrics_asked_for
    from autotune.report.chosen import chosen_lines, chosen_table
    from autotune.report.front_file import file_point

    point = summary.choose(text)
    if json:
        typer.echo(file_point(summary, point).model_dump_json(indent=2))
        return
    console = make_console()
    for line in chosen_lines(summary, point):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(chosen_table(summary, point, metrics_asked_for(text)))

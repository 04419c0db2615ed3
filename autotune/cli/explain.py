"""``autotune explain``: what a study has taught."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options
from autotune.cli.resume import doubled, resume_command

if TYPE_CHECKING:
    from autotune.explain import Explanation
    from autotune.store.records import StudyRecord


def explain(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Say what each plugin gave and cost, what matters, what failed, and why the search stopped.

    Example: autotune explain demo-cpu
    """
    from autotune.cli.explain_tables import tables
    from autotune.cli.show import make_console
    from autotune.explain import explain as explain_study
    from autotune.store.state import state_words
    from autotune.store.store import Store

    url = options.database_url(database, output)
    with Store.open_existing(url) as store:
        record, trials = store.study(study), store.trials(study, blocks=False)
    found = explain_study(record, trials, state_words(url, record))
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    console = make_console()
    for sentence in found.answer:
        console.print(sentence, markup=False, highlight=False)
    for table in tables(found):
        console.print()
        console.print(table)
    console.print(f"next: {_next(found, record, output, database)}", markup=False, soft_wrap=True)


def _next(found: Explanation, study: StudyRecord, output: Path, database: str | None) -> str:
    """More trials where these tell little, else the front."""
    if found.feasible and all(fit.explained_ratio is not None for fit in found.fits):
        where = f" --output {output}" if output != options.DEFAULT_OUTPUT else ""
        return f"autotune pareto {found.study}{where}"
    wanted = options.study_of(None, {}, options.stored_keys(study))
    wider = doubled(wanted, max(found.ending.trials, 1))
    return resume_command(wider, found.study, output, database, None)

"""``autotune studies``: what is in the database, and what a study does now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError

if TYPE_CHECKING:
    from autotune.store.records import StudyRecord
    from autotune.store.store import Store

_LOOK_SECONDS = 1.0


def studies(
    study: Annotated[
        str | None, typer.Argument(help="Show only this one; by default all of them.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Print what happens in STUDY until it ends.")
    ] = False,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """List the studies of a database, or watch one of them.

    Example: autotune studies --json
    """
    from autotune.cli.show import make_console
    from autotune.report.console import studies_table
    from autotune.store.state import state_words
    from autotune.store.store import Store

    if watch and study is None:
        raise InputError("--watch needs the name of a study; see autotune studies")
    url = options.database_url(database, output)
    with Store.open_existing(url) as store:
        records = _records(store, study)
        if watch:
            _watch(store, url, records[0].name, json=json)
            return
        counts = store.outcome_counts()
    if json:
        import json as codec

        rows = [r.model_dump(mode="json") | {"outcomes": counts.get(r.name, {})} for r in records]
        typer.echo(codec.dumps(rows, indent=2))
    else:
        states = {record.name: state_words(url, record) for record in records}
        make_console().print(studies_table(records, counts, states))


def _records(store: Store, name: str | None) -> list[StudyRecord]:
    return store.studies() if name is None else [store.study(name)]


def _watch(store: Store, url: str, name: str, *, json: bool) -> None:
    """Prints a line for everything that happens, until nobody runs the study any more."""
    from autotune.report.events import events, line
    from autotune.store.lock import is_run
    from autotune.store.records import StudyState
    from autotune.store.watch import Watch

    watch, before = Watch(store), None
    while True:
        # Asked before the look: what a process did before it ended is seen.
        running = is_run(url, name)
        look = watch.look(name)
        if look is None:
            return
        for event in events(before, look):
            typer.echo(event.model_dump_json() if json else line(event))
        before = look
        if not running:
            if look.state is StudyState.RUNNING and not json:
                typer.echo("nobody runs this study: its process died; --resume goes on")
            return
        time.sleep(_LOOK_SECONDS)

"""A study from its keys to its results: what the command line and notebooks share."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rich.console import Console

from autotune.config import StudyFile
from autotune.errors import InputError
from autotune.execute.base import Executor, OnProgress
from autotune.launch.demo_progress import training_bar
from autotune.launch.fleet import Fleet, find_fleet
from autotune.launch.live import LiveDisplay
from autotune.launch.place import Place
from autotune.launch.wanted import stored_keys
from autotune.messages import Progress
from autotune.report.front_file import write_front
from autotune.report.html import write_html
from autotune.report.summary import StudySummary
from autotune.search.loop import MAX_ATTEMPTS, Search
from autotune.search.plan import Plan, default_name, make_plan
from autotune.search.register import register
from autotune.search.target import Target
from autotune.store.database import parse_url, sqlite_file
from autotune.store.jobs import Jobs
from autotune.store.lock import StudyLock, is_run, study_lock
from autotune.store.state import state_words
from autotune.store.store import Store
from autotune.store.watch import ProgressWriter, Watch

DATABASE_PATIENCE_SECONDS = 300.0
"""How long a search waits for a database's server that went away."""


@dataclass(frozen=True)
class Ready:
    """A search that was checked and can start."""

    plan: Plan
    place: Place
    fleet: Fleet | None


def prepare(
    wanted: StudyFile,
    place: Place,
    console: Console,
    *,
    resume: bool,
    again: Callable[[str], str],
) -> Ready:
    """Checks everything that can be wrong with a study.

    Args:
        wanted: The study.
        place: Where it is kept.
        console: For what happens.
        resume: Whether it may exist.
        again: What goes on with the study of a name, for a person.

    Raises:
        InputError: Something is wrong; nothing was started.
    """
    fleet, target = _measuring(wanted, place, console)
    name = wanted.name or default_name(wanted.model, target.device.kind)
    if not resume:
        refuse_existing(name, place.url, again(name))
    with training_bar() as bar:
        return Ready(make_plan(wanted, place.output, bar, target=target), place, fleet)


def carry_out(
    ready: Ready, console: Console, *, resume: bool, allow_different_env: bool
) -> tuple[Plan, StudySummary]:
    """Runs a search; its results are written also if it is stopped.

    Args:
        ready: The search.
        console: For what happens.
        resume: Whether it may exist.
        allow_different_env: Whether it may have been begun in another environment.

    Returns:
        The plan, with notes of what differs from when it was begun; and the study.

    Raises:
        InputError: It may not begin or go on.
        Interrupted: Somebody stopped it; what was measured is kept.
    """
    url = ready.place.url
    ready.place.make_folder()
    plan = register_plan(ready.plan, url, console, resume=resume, allow=allow_different_env)
    return plan, run_plan(plan, url, ready.fleet, console)


def _measuring(wanted: StudyFile, place: Place, console: Console) -> tuple[Fleet | None, Target]:
    if place.broker is not None:
        fleet = find_fleet(wanted, place, place.broker, console)
        return fleet, Target.of(fleet.cards)
    if wanted.worker:
        raise InputError(f"worker {wanted.worker!r} needs --broker: workers are found through it")
    return None, Target.here(wanted.device)


def refuse_existing(name: str, url: str, again: str) -> None:
    """Before a demo model is trained for minutes, or a model is fetched."""
    file = sqlite_file(parse_url(url))
    if file is not None and not file.exists():
        return
    with Store.open(url) as store:
        existing = store.find_study(name)
    if existing is not None and is_run(url, name):
        raise InputError(
            f"study {name!r} exists already, and another process is running it; see it with: "
            f"autotune studies {shlex.quote(name)} --watch; or choose another name (--name)"
        )
    if existing is not None:
        ended = f": {existing.convergence_reason}" if existing.convergence_reason else ""
        state = f"{state_words(url, existing)}{ended}"
        raise InputError(
            f"study {name!r} exists already ({state}); go on with it by: {again}; "
            "to go beyond the budget that it had, with larger trials, minutes or patience "
            "(--trials, --minutes, --patience); or choose another name (--name)"
        )


def stored_definition(url: str, name: str | None) -> dict[str, Any]:
    """The definition of a study that is to go on, when nothing but its name is given."""
    if name is None:
        raise InputError(
            "to resume, a study's name (--name), its model (--model) or its file (--study) is "
            "needed: which study goes on?"
        )
    with Store.open_existing(url) as store:
        return stored_keys(store.study(name))


def register_plan(plan: Plan, url: str, console: Console, *, resume: bool, allow: bool) -> Plan:
    """The plan, with a note of every way in which the study's first environment was another."""
    with Store.open(url) as store:
        differing = register(plan, store, resume=resume, allow_different_env=allow)
    for line in differing:
        console.print(line, markup=False)
    return replace(plan, notes=(*plan.notes, *differing))


def run_plan(plan: Plan, url: str, fleet: Fleet | None, console: Console) -> StudySummary:
    """Runs the search; the front and the report are written also if it is stopped."""
    with Store.open(url, patience_seconds=DATABASE_PATIENCE_SECONDS) as store:
        lock = study_lock(url, plan.name, DATABASE_PATIENCE_SECONDS)
        try:
            with LiveDisplay(console) as display:
                make = _watched(_executor(plan, store, fleet, lock), plan, store)
                attempts = None if fleet else MAX_ATTEMPTS
                Search(plan, store, url, make, display, lock, attempts).run()
        finally:
            summary = _write_results(plan, store)
    return summary


def _executor(
    plan: Plan, store: Store, fleet: Fleet | None, lock: StudyLock
) -> Callable[[OnProgress], Executor]:
    """Makes what carries the trials: this machine's device, or the workers that are up."""
    jobs = Jobs(store)
    if fleet is None:
        from autotune.execute.local import LocalExecutor

        def here(on_progress: OnProgress) -> LocalExecutor:
            jobs.call_off(plan.name)  # what workers had of an earlier run
            return LocalExecutor(plan.registry, on_progress)

        return here
    from autotune.execute.fleet.executor import FleetExecutor, Patience

    return partial(
        FleetExecutor,
        fleet.broker,
        jobs,
        plan.name,
        fleet.cards[0].queue,
        patience=Patience(fleet.lease_seconds),
        keep=lock.keep,
    )


def _watched(
    make: Callable[[OnProgress], Executor], plan: Plan, store: Store
) -> Callable[[OnProgress], Executor]:
    """The same, and what its trials do is in the database: others may watch from elsewhere."""
    watch = Watch(store)
    keep = ProgressWriter(watch, plan.name)

    def make_watched(on_progress: OnProgress) -> Executor:
        watch.clear(plan.name)

        def both(progress: Progress) -> None:
            on_progress(progress)
            keep(progress)

        return make(both)

    return make_watched


def _write_results(plan: Plan, store: Store) -> StudySummary:
    summary = StudySummary.of(store.study(plan.name), store.trials(plan.name, blocks=False))
    if summary.points:
        front = write_front(summary, plan.directory / "front.json")
        store.update_study(plan.name, front=front.model_dump(mode="json"))
        write_html(summary, plan.directory / "report.html")
    return summary

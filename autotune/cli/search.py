"""``autotune search``: measure a model's optimizations and save the Pareto front."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.cli.resume import doubled, limits_of_the_file, resume_command
from autotune.errors import InputError, Interrupted
from autotune.execute.fleet import settings
from autotune.urls import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from autotune.config import StudyFile
    from autotune.execute.base import Executor, OnProgress
    from autotune.execute.fleet.broker import Broker
    from autotune.execute.fleet.messages import WorkerCard
    from autotune.messages import Progress
    from autotune.report.summary import StudySummary
    from autotune.search.plan import Plan
    from autotune.store.lock import StudyLock
    from autotune.store.store import Store

DATABASE_PATIENCE_SECONDS = 300.0
"""How long a search waits for a database's server that went away."""


def search(
    model: options.Model = None,
    study: options.StudyPath = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study; by default MODEL-DEVICE.")
    ] = None,
    resume: options.Resume = False,
    trials: Annotated[int | None, typer.Option(help="Budget: trials in all.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of this run.")] = None,
    patience: Annotated[
        int | None,
        typer.Option(help="Stop when so many trials in a row let the front grow by 1 % at most."),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(help="Fresh processes that repeat the front at the end; 0: none."),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            help="latency, throughput, memory, energy, edge, quick or thorough: plugins, "
            "objectives and workload where nothing else is said (autotune presets)."
        ),
    ] = None,
    plugins: options.Plugins = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            help="A metric to optimize, or an aim such as latency or memory; may be repeated."
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option(help='E.g. "kld_mean_nats<=0.05"; may be repeated.')
    ] = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    cpu_watts_per_core: options.CpuWatts = None,
    task_file: options.TaskFiles = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="autotune, random, grid, or one of Optuna's: tpe, gp, nsga2..."),
    ] = None,
    warm_start: Annotated[
        bool | None,
        typer.Option(
            "--warm-start/--no-warm-start",
            help="Begin with what a similar study in the database has measured.",
        ),
    ] = None,
    seed: options.Seed = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    broker: options.Broker = None,
    worker: Annotated[
        str | None,
        typer.Option(help="Use this worker and those like it, where several kinds are up."),
    ] = None,
    lease_seconds: Annotated[
        float,
        typer.Option(
            min=10, help="Without a sign of life, until a worker's trial is given to another."
        ),
    ] = 30.0,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    allow_power_changes: options.AllowPowerChanges = False,
    allow_different_env: options.AllowDifferentEnv = False,
    json: options.AsJson = False,
) -> None:
    """Measure a model's optimizations and save the Pareto front.

    Ctrl-C stops it at any moment; the same command with --resume goes on. A trial that an earlier
    one surely beats ends early; `measure: {racing: false}` in a study file measures all whole.

    Example: autotune search --model demo --trials 12 --constraint "kld_mean_nats<=0.05"
    """
    from autotune.cli.demo_progress import training_bar
    from autotune.cli.show import make_console, show_summary
    from autotune.report.front_file import front_file
    from autotune.search.plan import default_name, make_plan
    from autotune.search.target import Target

    given = {
        "model": model,
        "name": name,
        "preset": preset,
        "budget.trials": trials,
        "budget.minutes": minutes,
        "budget.patience_trials": patience,
        "confirm.processes": confirm,
        "plugins": options.plugin_names(plugins),
        "objectives": objective,
        "constraints": constraint,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "workload.prompt_tokens": prompt_tokens,
        "workload.new_tokens": new_tokens,
        "workload.evaluation_text": str(text) if text else None,
        "measure.cpu_watts_per_core": cpu_watts_per_core,
        "workload.task_files": task_file,
        "sampler": sampler,
        "warm_start": warm_start,
        "seed": seed,
        "worker": worker,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
        "allow_power_changes": allow_power_changes,
    }
    url = options.database_url(database, output)
    stored = stored_definition(url, name) if resume and not (model or study) else None
    wanted = options.study_of(study, given, stored)
    console = make_console(stderr=json)
    if broker is not None:
        fleet = _find_fleet(wanted, url, output, broker, lease_seconds, console)
        target = Target.of(fleet.cards)
    elif wanted.worker:
        raise InputError(f"worker {wanted.worker!r} needs --broker: workers are found through it")
    else:
        fleet, target = None, Target.here(wanted.device)
    name = wanted.name or default_name(wanted.model, target.device.kind)
    again = resume_command(wanted, name, output, database, broker)
    if not resume:
        refuse_existing(name, url, again)
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar, target=target)
    if database is None:
        make_folder(output)
    try:
        plan = register_plan(plan, url, console, resume=resume, allow=allow_different_env)
        summary = run_plan(plan, url, fleet, console)
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; go on with: {again}") from stopped
    if json:
        typer.echo(front_file(summary).model_dump_json(indent=2))
    else:
        show_summary(console, summary)
        _say_next(console, summary, plan, database)
        if len(summary.trials) < len(plan.pool.recipes):
            wider = doubled(wanted, len(summary.trials))
            again = resume_command(wider, name, output, database, broker)
            if in_file := limits_of_the_file(wanted):
                again = f"raise {in_file} in the study file, then: {again} --study FILE"
            console.print(f"more:  {again}", markup=False, soft_wrap=True)


def make_folder(output: Path) -> None:
    """The folder of a database that is a file."""
    from autotune.workload.paths import require_writable

    require_writable(output, "the output folder", "name another one with --output")
    output.mkdir(parents=True, exist_ok=True)


def refuse_existing(name: str, url: str, again: str) -> None:
    """Before a demo model is trained for minutes, or a model is fetched."""
    from autotune.store.database import parse_url, sqlite_file
    from autotune.store.lock import is_run
    from autotune.store.store import Store

    file = sqlite_file(parse_url(url))
    if file is not None and not file.exists():
        return
    with Store.open(url) as store:
        existing = store.find_study(name)
    if existing is not None and is_run(url, name):
        raise InputError(
            f"study {name!r} exists already, and another process is running it; see it with: "
            f"autotune studies {shlex.quote(name)} --watch; or choose another --name"
        )
    if existing is not None:
        ended = f": {existing.convergence_reason}" if existing.convergence_reason else ""
        raise InputError(
            f"study {name!r} exists already ({existing.state}{ended}); go on with it by: {again}; "
            "to go beyond the budget that it had, with larger --trials, --minutes or --patience; "
            "or choose another --name"
        )


def stored_definition(url: str, name: str | None) -> dict[str, Any]:
    """The definition of a study that is to go on, when nothing but its name is given."""
    from autotune.store.store import Store

    if name is None:
        raise InputError("--resume needs --name, --model or --study to know which study goes on")
    with Store.open_existing(url) as store:
        return options.stored_keys(store.study(name))


def register_plan(plan: Plan, url: str, console: Console, *, resume: bool, allow: bool) -> Plan:
    """The plan, with a note of every way in which the study's first environment was another."""
    from autotune.search.register import register
    from autotune.store.store import Store

    with Store.open(url) as store:
        differing = register(plan, store, resume=resume, allow_different_env=allow)
    for line in differing:
        console.print(line, markup=False)
    return replace(plan, notes=(*plan.notes, *differing))


@dataclass(frozen=True)
class _Fleet:
    """Workers that are up, and how to reach them."""

    broker: Broker
    cards: list[WorkerCard]
    lease_seconds: float


def _find_fleet(
    study: StudyFile,
    url: str,
    output: Path,
    broker_url: str,
    lease_seconds: float,
    console: Console,
) -> _Fleet:
    """Makes sure that somebody will measure, before anything else is done."""
    from autotune.device import KINDS
    from autotune.environment import ENV_ID
    from autotune.execute.fleet.broker import Broker
    from autotune.search.plan import check_study, default_name
    from autotune.search.workers import choose_workers
    from autotune.store.store import Store

    check_study(study)
    broker = Broker(broker_url).check()
    if url == options.database_url(None, output):
        make_folder(output)
    with Store.open(url) as store:
        database = store.identity()
        names = [study.name] if study.name else [default_name(study.model, k) for k in KINDS]
        begun = [found for name in names if (found := store.find_study(name))]
    begun_on = [found.environment[ENV_ID] for found in begun if ENV_ID in found.environment]
    cards = choose_workers(broker, database, study.device, study.worker, begun_on, study.trust)
    console.print(f"workers: {', '.join(card.name for card in cards)}", markup=False)
    return _Fleet(broker, cards, lease_seconds)


def run_plan(plan: Plan, url: str, fleet: _Fleet | None, console: Console) -> StudySummary:
    """Runs the search; the front and the report are written also if it is stopped."""
    from autotune.cli.live import LiveDisplay
    from autotune.search.loop import MAX_ATTEMPTS, Search
    from autotune.store.lock import study_lock
    from autotune.store.store import Store

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
    plan: Plan, store: Store, fleet: _Fleet | None, lock: StudyLock
) -> Callable[[OnProgress], Executor]:
    """Makes what carries the trials: this machine's device, or the workers that are up."""
    from autotune.store.jobs import Jobs

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
    from autotune.store.watch import ProgressWriter, Watch

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
    from autotune.report.front_file import write_front
    from autotune.report.html import write_html
    from autotune.report.summary import StudySummary

    summary = StudySummary.of(store.study(plan.name), store.trials(plan.name))
    if summary.points:
        front = write_front(summary, plan.directory / "front.json")
        store.update_study(plan.name, front=front.model_dump(mode="json"))
        write_html(summary, plan.directory / "report.html")
    return summary


def _say_next(console: Console, summary: StudySummary, plan: Plan, database: str | None) -> None:
    folder, where = plan.directory, ""
    if database and database != os.environ.get(settings.DATABASE):
        where = f" --database {without_secrets(database)}"
    if folder.parent != options.DEFAULT_OUTPUT and not database:
        where = f" --output {folder.parent}"
    console.print(f"ended: {summary.study.convergence_reason}")
    console.print(f"saved: {folder / 'front.json'} and {folder / 'report.html'}")
    console.print(f"next:  open the report, or: autotune pareto {plan.name}{where}")

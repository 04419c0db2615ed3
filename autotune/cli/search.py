"""``autotune search``: measure a model's optimizations and save the Pareto front."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options
from autotune.cli.resume import doubled, limits_of_the_file, resume_command
from autotune.errors import Interrupted
from autotune.execute.fleet import settings
from autotune.urls import without_secrets

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.report.summary import StudySummary
    from autotune.search.plan import Plan


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
    from autotune.cli.show import make_console, show_summary
    from autotune.launch.place import Place
    from autotune.launch.run import carry_out, prepare, stored_definition
    from autotune.report.front_file import front_file

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
    place = Place(output, database, broker, lease_seconds)
    stored = stored_definition(place.url, name) if resume and not (model or study) else None
    wanted = options.study_of(study, given, stored)
    console = make_console(stderr=json)
    again = partial(resume_command, wanted, output=output, database=database, broker=broker)
    ready = prepare(wanted, place, console, resume=resume, again=again)
    name = ready.plan.name
    try:
        plan, summary = carry_out(
            ready, console, resume=resume, allow_different_env=allow_different_env
        )
    except Interrupted as stopped:
        raise Interrupted(f"{stopped}; go on with: {again(name)}") from stopped
    if json:
        typer.echo(front_file(summary).model_dump_json(indent=2))
    else:
        show_summary(console, summary)
        _say_next(console, summary, plan, database)
        if len(summary.trials) < len(plan.pool.recipes):
            wider = doubled(wanted, len(summary.trials))
            more = resume_command(wider, name, output, database, broker)
            if in_file := limits_of_the_file(wanted):
                more = f"raise {in_file} in the study file, then: {more} --study FILE"
            console.print(f"more:  {more}", markup=False, soft_wrap=True)


def _say_next(console: Console, summary: StudySummary, plan: Plan, database: str | None) -> None:
    folder, where = plan.directory, ""
    if database and database != os.environ.get(settings.DATABASE):
        where = f" --database {without_secrets(database)}"
    if folder.parent != options.DEFAULT_OUTPUT and not database:
        where = f" --output {folder.parent}"
    console.print(f"ended: {summary.study.convergence_reason}")
    console.print(f"saved: {folder / 'front.json'} and {folder / 'report.html'}")
    console.print(f"next:  open the report, or: autotune pareto {plan.name}{where}")

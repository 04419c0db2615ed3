"""``autotune search``: measure a model's optimizations and save the Pareto front."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.report.summary import StudySummary
    from autotune.search.plan import Plan
    from autotune.store.store import Store


def search(
    model: options.Model = None,
    study: Annotated[
        Path | None, typer.Option(help="Study file (YAML); other options override it.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the study; by default MODEL-DEVICE.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the study if it exists already.")
    ] = False,
    trials: Annotated[int | None, typer.Option(help="Budget: trials in all.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Budget: minutes of this run.")] = None,
    plugins: options.Plugins = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="A metric to optimize; may be repeated.")
    ] = None,
    constraint: Annotated[
        list[str] | None, typer.Option(help='E.g. "kld_mean_nats<=0.05"; may be repeated.')
    ] = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    sampler: Annotated[str | None, typer.Option(help="tpe or random.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of every random choice.")] = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    trust_remote_code: options.TrustRemoteCode = False,
    json: options.AsJson = False,
) -> None:
    """Measure a model's optimizations and save the Pareto front.

    Ctrl-C stops it at any moment; the same command with --resume goes on.

    Example: autotune search --model demo --trials 12 --constraint "kld_mean_nats<=0.05"
    """
    from autotune.cli.demo_progress import training_bar
    from autotune.cli.show import make_console, show_summary
    from autotune.report.front_file import front_file
    from autotune.search.plan import make_plan

    given = {
        "model": model,
        "name": name,
        "budget.trials": trials,
        "budget.minutes": minutes,
        "plugins": options.plugin_names(plugins),
        "objectives": objective,
        "constraints": constraint,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "workload.prompt_tokens": prompt_tokens,
        "workload.new_tokens": new_tokens,
        "workload.evaluation_text": str(text) if text else None,
        "sampler": sampler,
        "seed": seed,
        "trust_remote_code": trust_remote_code,
    }
    url = options.database_url(database, output)
    stored = _stored(url, name) if resume and not (model or study) else {}
    wanted = options.study_of(study, {**stored, **given})
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar)
    console = make_console(stderr=json)
    if database is None:
        output.mkdir(parents=True, exist_ok=True)
    summary = _run(plan, url, resume, console)
    if json:
        typer.echo(front_file(summary).model_dump_json(indent=2))
    else:
        show_summary(console, summary)
        _say_next(console, summary.study.convergence_reason, plan, database)


def _stored(url: str, name: str | None) -> dict[str, Any]:
    """The definition of a study that is to go on, when nothing but its name is given."""
    from autotune.search.plan import SPACE
    from autotune.store.store import Store

    if name is None:
        raise InputError("--resume needs --name, --model or --study to know which study goes on")
    with Store.open_existing(url) as store:
        definition = store.study(name).definition
    return {key: value for key, value in definition.items() if key != SPACE}


def _run(plan: Plan, url: str, resume: bool, console: Console) -> StudySummary:
    """Runs the search; the front and the report are written also if it is stopped."""
    from autotune.cli.live import LiveDisplay
    from autotune.execute.local import LocalExecutor
    from autotune.search.loop import Search, register
    from autotune.store.store import Store

    with Store.open(url) as store:
        register(plan, store, resume=resume)
        try:
            with LiveDisplay(console) as display:
                make = partial(LocalExecutor, plan.registry)
                Search(plan, store, url, make, display).run()
        finally:
            summary = _write_results(plan, store)
    return summary


def _write_results(plan: Plan, store: Store) -> StudySummary:
    from autotune.report.front_file import write_front
    from autotune.report.html import write_html
    from autotune.report.summary import StudySummary

    summary = StudySummary.of(store.study(plan.name), store.trials(plan.name))
    if summary.points:
        write_front(summary, plan.directory / "front.json")
        write_html(summary, plan.directory / "report.html")
    return summary


def _say_next(console: Console, reason: str, plan: Plan, database: str | None) -> None:
    console.print(f"ended: {reason}")
    console.print(f"saved: {plan.directory / 'front.json'} and {plan.directory / 'report.html'}")
    where = f" --database {database}" if database else ""
    console.print(f"next:  open the report, or: autotune pareto {plan.name}{where}")

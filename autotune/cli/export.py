"""``autotune export``: a trial's finished model as a directory that runs anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autotune.cli import options
from autotune.errors import InputError

if TYPE_CHECKING:
    from autotune.export.files import ExportFile
    from autotune.messages import RecipeDict
    from autotune.search.plan import Plan
    from autotune.store.records import StudyRecord


def export(
    study: Annotated[str, typer.Argument(help="Name of the study; see autotune studies.")],
    directory: Annotated[Path, typer.Argument(help="Where to; must not exist, or be empty.")],
    pick: Annotated[
        str,
        typer.Option(
            help="A pick, a trial's number, baseline, or an expression as in autotune pareto."
        ),
    ] = "balanced",
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite an earlier export, and nothing else.")
    ] = False,
    max_shard_bytes: Annotated[
        int, typer.Option(min=1, help="Size of a file that holds several weights, at most.")
    ] = 5_000_000_000,
    allow_different_env: options.AllowDifferentEnv = False,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    json: options.AsJson = False,
) -> None:
    """Write a trial's finished model into a directory that runs anywhere.

    The trial is prepared again as the study did, written, and loaded in a fresh process: only if
    its outputs are the same is the directory put in its place. autotune.load serves it.

    Example: autotune export demo --pick balanced served/
    """
    from autotune import registry
    from autotune.cli.show import make_console
    from autotune.environment import compare_environments
    from autotune.export.choose import choose
    from autotune.export.place import check_place
    from autotune.export.write import export_trial
    from autotune.report.summary import StudySummary
    from autotune.store.store import Store

    with Store.open_existing(options.database_url(database, output)) as store:
        record = store.study(study)
        summary = StudySummary.of(record, store.trials(study, blocks=False))
    chosen = choose(summary, pick, registry.installed().plugins)
    check_place(directory, force=force)
    plan = _plan(record, output, chosen.recipe)
    console = make_console(stderr=True)
    for line in compare_environments(
        record.environment, plan.environment, allow_different=allow_different_env
    ):
        console.print(line, markup=False)
    found = export_trial(
        plan,
        chosen,
        directory,
        environment=record.environment,
        max_shard_bytes=max_shard_bytes,
        force=force,
        on_step=lambda words: console.print(words, markup=False),
    )
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found, directory, chosen.against_baseline)


def _plan(record: StudyRecord, output: Path, recipe: RecipeDict) -> Plan:
    from autotune.launch.demo_progress import training_bar
    from autotune.search.plan import make_plan

    wanted = options.study_of(None, {}, options.stored_keys(record))
    with training_bar() as bar:
        plan = make_plan(wanted, output, bar, only=recipe)
    if plan.model.fingerprint != record.definition.get("model_files"):
        raise InputError(
            f"the files of {plan.model.path} are not those that the study measured; put them "
            "back, or search again under another --name"
        )
    return plan


def _print(found: ExportFile, directory: Path, against_baseline: str) -> None:
    from autotune.cli.show import make_console
    from autotune.recipe import describe
    from autotune.report.format import quantity

    console = make_console()
    size = sum(entry.size_bytes for entry in found.files.values())
    for line in (
        f"#{found.spec.number} {describe(found.recipe)}: {against_baseline}",
        f"{directory}: {len(found.files)} files, {quantity('weights_disk_bytes', size)}",
        "loaded in a fresh process, its outputs differ from the trial's by at most "
        f"{found.max_abs_difference:.3g}",
        f"load it with autotune.load({str(directory)!r}); check it with autotune verify "
        f"{directory}",
    ):
        console.print(line, markup=False)

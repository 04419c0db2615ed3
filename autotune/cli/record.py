"""``autotune record``: measure every recipe of a small space into a table."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options
from autotune.cli.resume import place_options
from autotune.errors import InputError, Interrupted

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.search.plan import Plan

DEFAULT_LIMIT = 300


def record(
    model: options.Model = None,
    study: options.StudyPath = None,
    table: Annotated[
        Path | None, typer.Option(help="The table (CSV); by default OUTPUT/NAME/table.csv.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=2, help="Refuse to begin if there are more recipes than this.")
    ] = DEFAULT_LIMIT,
    name: Annotated[
        str | None, typer.Option(help="Name of the study; by default MODEL-DEVICE-table.")
    ] = None,
    resume: options.Resume = False,
    minutes: Annotated[float | None, typer.Option(help="Stop after so many minutes.")] = None,
    plugins: options.Plugins = None,
    objective: Annotated[
        list[str] | None, typer.Option(help="A metric, or an aim; may be repeated.")
    ] = None,
    task: options.Task = "auto",
    device: options.DeviceName = "auto",
    prompt_tokens: options.PromptTokens = None,
    new_tokens: options.NewTokens = None,
    text: options.Text = None,
    seed: options.Seed = None,
    output: options.Output = options.DEFAULT_OUTPUT,
    database: options.Database = None,
    trust_remote_code: options.TrustRemoteCode = False,
    allow_pickle: options.AllowPickle = False,
    allow_power_changes: options.AllowPowerChanges = False,
    allow_different_env: options.AllowDifferentEnv = False,
) -> None:
    """Measure every recipe of a small space into a table, on which searches can be replayed.

    It is a study like any other: Ctrl-C stops it at any moment, the table then holds what is
    measured, and --resume goes on. docs/pages/reference/tables.md describes the table.

    Example: autotune record --study studies/recorded.yaml --table recorded.csv
    """
    url = options.database_url(database, output)
    given = {
        "model": model,
        "name": name,
        "plugins": options.plugin_names(plugins),
        "objectives": objective,
        "task": None if task == "auto" else task,
        "device": None if device == "auto" else device,
        "workload.prompt_tokens": prompt_tokens,
        "workload.new_tokens": new_tokens,
        "workload.evaluation_text": str(text) if text else None,
        "seed": seed,
        "trust_remote_code": trust_remote_code,
        "allow_pickle": allow_pickle,
        "allow_power_changes": allow_power_changes,
    }
    wanted = _StudyToRecord(url, output, name, table, limit, database)
    plan = wanted.plan(study, given, minutes, resume=resume)
    wanted.run(plan, resume=resume, allow=allow_different_env)


@dataclass(frozen=True)
class _StudyToRecord:
    """What the options say of where things go."""

    url: str
    output: Path
    name: str | None
    table: Path | None
    limit: int
    database: str | None

    def plan(
        self, file: Path | None, given: dict[str, Any], minutes: float | None, *, resume: bool
    ) -> Plan:
        """The search that measures every recipe once, in random order, and repeats none.

        Raises:
            InputError: Something is wrong with it, or there are too many recipes.
        """
        from autotune.config import Budget, Confirm
        from autotune.launch.demo_progress import training_bar
        from autotune.launch.run import refuse_existing, stored_definition
        from autotune.search.plan import default_name, make_plan
        from autotune.search.target import Target

        from_store = resume and not (given["model"] or file)
        stored = stored_definition(self.url, self.name) if from_store else None
        study = options.study_of(file, given, stored)
        if study.worker:
            raise InputError(
                f"worker {study.worker!r}: a table is recorded on this machine; drop the key"
            )
        target = Target.here(study.device)
        name = study.name or f"{default_name(study.model, target.device.kind)}-table"
        if not resume:
            refuse_existing(name, self.url, self._again(name))
        # Constraints and rivals would end trials before their numbers are whole; an order of the
        # user's would show the machine's drift as an effect.
        fixed = {
            "name": name,
            "sampler": "random",
            "confirm": Confirm(processes=0),
            "constraints": (),
            "try_first": (),
        }
        with training_bar() as bar:
            measure = study.measure.model_copy(update={"racing": False})
            study = study.model_copy(update={**fixed, "measure": measure})
            plan = make_plan(study, self.output, bar, target=target)
        count = len(plan.pool.recipes)
        if count > self.limit:
            raise InputError(
                f"this space has {count:,} recipes, and --limit allows {self.limit:,}; restrict "
                f"plugins and values in a study file, or give --limit {count}"
            )
        budget = Budget(trials=count, minutes=minutes)
        return replace(plan, study=study.model_copy(update={"budget": budget}))

    def run(self, plan: Plan, *, resume: bool, allow: bool) -> None:
        """Measures, and writes the table, also if it is stopped."""
        from autotune.cli.show import make_console
        from autotune.launch.place import Place
        from autotune.launch.run import register_plan, run_plan

        console = make_console()
        Place(self.output, self.database).make_folder()
        file = self._file(plan.name)
        try:
            plan = register_plan(plan, self.url, console, resume=resume, allow=allow)
            run_plan(plan, self.url, None, console)
        except Interrupted as stopped:
            said = f"{stopped}; {self._write(plan, file, console)}"
            raise Interrupted(f"{said}; go on with: {self._again(plan.name)}") from stopped
        console.print(self._write(plan, file, console), markup=False, soft_wrap=True)

    def _write(self, plan: Plan, file: Path, console: Console) -> str:
        """Writes what is measured.

        Returns:
            How much that is, for a person.
        """
        from autotune.search.recording import recorded
        from autotune.store.store import Store
        from autotune.tables import write_table

        with Store.open(self.url) as store:
            found = recorded(plan, store.trials(plan.name, blocks=False))
        for note in found.notes:
            console.print(note, markup=False)
        if not found.table.rows:
            return "no recipe is measured yet"
        write_table(found.table, file)
        return f"{len(found.table.rows)} of {len(plan.pool.recipes)} recipes are in {file}"

    def _file(self, name: str) -> Path:
        """Where the table goes; its folder is made.

        Raises:
            InputError: It cannot be written there.
        """
        from autotune.workload.paths import require_writable

        file = self.table or self.output / name / "table.csv"
        require_writable(file.parent, "the table's folder", "name another file with --table")
        file.parent.mkdir(parents=True, exist_ok=True)
        return file

    def _again(self, name: str) -> str:
        """The command that goes on."""
        command = ["autotune", "record", "--resume", "--name", name]
        if self.table is not None:
            command += ["--table", str(self.table)]
        if self.limit != DEFAULT_LIMIT:
            command += ["--limit", str(self.limit)]
        return shlex.join([*command, *place_options(self.output, self.database)])

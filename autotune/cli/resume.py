"""The command that goes on with a search."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.cli import options
from autotune.execute.fleet import settings
from autotune.urls import without_secrets

if TYPE_CHECKING:
    from autotune.config import StudyFile


def place_options(output: Path, database: str | None, broker: str | None = None) -> list[str]:
    """The options that say where a study is, from anywhere in this folder. URLs that came from the
    environment are still there; passwords are not printed.

    Args:
        output: Folder of the studies.
        database: URL, where one was given.
        broker: URL, where one was given.
    """
    found = ["--output", str(output)] if output != options.DEFAULT_OUTPUT else []
    for option, variable, given in (
        ("--database", settings.DATABASE, database),
        ("--broker", settings.BROKER, broker),
    ):
        if given and given != os.environ.get(variable):
            found += [option, without_secrets(given)]
    return found


def resume_command(
    study: StudyFile,
    name: str,
    output: Path,
    database: str | None,
    broker: str | None,
) -> str:
    """The command that goes on with a study.

    Args:
        study: What it was begun with; its budget is said.
        name: Of the study.
        output: Folder of the studies.
        database: URL, where one was given.
        broker: URL, where one was given.
    """
    command = ["autotune", "search", "--resume", "--name", name]
    command += place_options(output, database, broker)
    if study.budget.trials:
        command += ["--trials", str(study.budget.trials)]
    if study.budget.minutes:
        command += ["--minutes", f"{study.budget.minutes:g}"]
    if study.budget.patience_trials:
        command += ["--patience", str(study.budget.patience_trials)]
    return shlex.join(command)


def doubled(study: StudyFile, trials: int) -> StudyFile:
    """The study with a budget to try as much again; minutes count anew in each run.

    Args:
        study: What was searched.
        trials: How many it has by now.
    """
    budget, more = study.budget, dict[str, Any]()
    if budget.patience_trials:
        more["patience_trials"] = 2 * budget.patience_trials
    if budget.trials or not budget.is_given:
        more["trials"] = max(2 * trials, budget.trials or 0)
    return study.model_copy(update={"budget": budget.model_copy(update=more)})


def limits_of_the_file(study: StudyFile) -> str:
    """Limits over all runs that no option raises."""
    given = {"budget.gpu_hours": study.budget.gpu_hours, "budget.kwh": study.budget.kwh}
    return " and ".join(key for key, limit in given.items() if limit is not None)

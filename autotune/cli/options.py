"""Options that several commands share, and the study that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.errors import InputError
from autotune.execute.fleet import settings

if TYPE_CHECKING:
    from autotune.config import StudyFile
    from autotune.params import Scalar
    from autotune.store.records import StudyRecord

StudyPath = Annotated[
    Path | None, typer.Option("--study", help="Study file (YAML); other options override it.")
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the study if it exists already.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Of every random choice.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Checkpoint directory, hub id, or 'demo' / 'demo-tiny' (trained here).",
    ),
]
Task = Annotated[
    str, typer.Option(help="auto, causal-lm, sequence-classification or feature-extraction.")
]
DeviceName = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Plugins = Annotated[
    list[str] | None,
    typer.Option(help="Plugin names, comma-separated or one at a time; by default all installed."),
]
Output = Annotated[Path, typer.Option(help="Folder for studies: logs, front.json, report.")]
Database = Annotated[
    str | None,
    typer.Option(
        envvar=settings.DATABASE,
        show_envvar=False,
        help=f"Database URL; by default {settings.DATABASE}, else sqlite:///OUTPUT/autotune.db.",
    ),
]
Broker = Annotated[
    str | None,
    typer.Option(
        envvar=settings.BROKER,
        show_envvar=False,
        help="Redis of the workers, redis://[:password@]host; without it trials run here. "
        f"Better in {settings.BROKER}: process lists show options.",
    ),
]
AllowDifferentEnv = Annotated[
    bool,
    typer.Option(
        "--allow-different-env", help="Go on although machine, versions or settings differ."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PromptTokens = Annotated[int | None, typer.Option(help="Tokens of each prompt.")]
NewTokens = Annotated[int | None, typer.Option(help="Tokens generated for each prompt.")]
Text = Annotated[Path | None, typer.Option(help="Your own held-out UTF-8 text to score on.")]
CpuWatts = Annotated[
    float | None,
    typer.Option(help="Estimate energy from CPU time with so many watts for each busy core."),
]
TaskFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--task-file",
        help="Items with right answers: labelled .jsonl or .csv, .yaml of lm-eval; may be "
        "repeated.",
    ),
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Let the model's repository run its code.")
]
AllowPickle = Annotated[
    bool,
    typer.Option("--allow-pickle", help="Take pickled weights where the model has no others."),
]
AllowPowerChanges = Annotated[
    bool,
    typer.Option(
        "--allow-power-changes",
        help="Let plugins set power limits, clocks and governors while a trial runs (as root).",
    ),
]

DEFAULT_OUTPUT = Path("studies")
_THREE_STATES = ("warm_start",)
"""Keys whose option also says no."""


def database_url(database: str | None, output: Path) -> str:
    """The database to use."""
    from autotune.launch.place import database_url as url

    return url(database, output)


def study_of(
    file: Path | None, given: dict[str, Any], stored: dict[str, Any] | None = None
) -> StudyFile:
    """A study from its file, overridden by what stands on the command line.

    Args:
        file: The study file, if any.
        given: Options by key; those that are None or empty were not given. Keys of a section
            are dotted: ``budget.trials``.
        stored: The keys of a study in the database, in the place of a file.

    Raises:
        InputError: The file or an option is wrong, or no model is named.
    """
    from autotune.launch.wanted import wanted_study

    # A flag that is not there is False; what can be switched off has three states.
    said = {k: v for k, v in given.items() if v is not False or k in _THREE_STATES}
    named = {key: _option(key) for key, value in said.items() if value is not None}
    return wanted_study(file, said, stored, "the options", named)


def _option(key: str) -> str:
    """The option that gives a key: ``--prompt-tokens`` for ``workload.prompt_tokens``."""
    name = key.rpartition(".")[2]
    other = {
        "objectives": "objective",
        "constraints": "constraint",
        "evaluation_text": "text",
        "task_files": "task-file",
        "processes": "confirm",
        "patience_trials": "patience",
    }
    return f"--{other.get(name, name).replace('_', '-')}"


def stored_keys(study: StudyRecord) -> dict[str, Any]:
    """The keys of a stored study's file, for ``study_of``."""
    from autotune.launch.wanted import stored_keys as keys

    return keys(study)


def plugin_names(texts: Sequence[str] | None) -> list[str] | None:
    """``a,b`` and ``c`` as one list; None where the option was not given."""
    names = [name.strip() for text in texts or () for name in text.split(",")]
    if valued := next((name for name in names if "=" in name), None):
        raise InputError(
            f"cannot read --plugins {valued!r}: it takes names, e.g. --plugins batch,compile; "
            "to choose values, give a study file with --study"
        )
    return [name for name in names if name] if texts else None


def parse_settings(settings: list[str]) -> dict[str, dict[str, Scalar]]:
    """Reads ``plugin.param=value`` options.

    Raises:
        InputError: One of them is not of that form.
    """
    import yaml

    chosen: dict[str, dict[str, Scalar]] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        plugin, dot, param = name.strip().partition(".")
        if not (equals and dot and value.strip()):
            raise InputError(
                f"cannot read --set {setting!r}; expected plugin.param=value, e.g. batch.size=8"
            )
        read = yaml.safe_load(value)
        # YAML's "off" and "none"-like words are values of params, not booleans or nulls.
        chosen.setdefault(plugin, {})[param] = (
            read if type(read) in (int, float) else value.strip()
        )
    return chosen

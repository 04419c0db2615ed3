"""What an exported directory holds, and whether it is whole."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal

from autotune.bench.exported.names import TOKENS_FILE
from autotune.errors import InputError
from autotune.message import Message
from autotune.messages import Metrics, RecipeDict, TaskScore, TrialSpec

EXPORT_FILE = "export.json"
"""Written last: a directory without it is none of ours, or not finished."""

METRICS_FILE = "metrics.json"
RECIPE_FILE = "recipe.json"
REFERENCE_FILE = "reference.safetensors"
CARD_FILE = "README.md"
SERVE_FILE = "serve.py"

_SMALL_BYTES = 1 << 20
"""Files up to this size are read whole whenever a directory is loaded."""


class FileEntry(Message):
    """One file, as it was written."""

    size_bytes: int
    sha256: str


class Numbers(Message):
    """``metrics.json``: what the study has measured."""

    metrics: Metrics
    """The trial's headline."""
    one_process: Metrics
    """The same with the intervals in which one more fresh process is expected."""
    baseline: Metrics
    """The baseline's headline."""
    objectives: tuple[str, ...]
    tasks: tuple[TaskScore, ...] = ()
    notes: tuple[str, ...] = ()


class ExportFile(Message):
    """``export.json``."""

    schema_version: Literal[1] = 1
    autotune_version: str
    created_at: datetime
    pick: str
    """As it was asked for: a pick, ``baseline`` or a trial's number."""
    spec: TrialSpec
    """The trial; its model is the original."""
    environment: dict[str, str]
    """What the numbers were measured on."""
    written_on: dict[str, str]
    """What the stored outputs were computed on."""
    tolerance: float
    """How much outputs may differ from the stored ones, relative to the largest of them."""
    max_abs_difference: float
    """Of the outputs of a fresh process that has loaded this directory from the trial's."""
    files: dict[str, FileEntry]
    """By their path in the directory; all but this file."""

    @property
    def recipe(self) -> RecipeDict:
        """What runs."""
        return self.spec.recipe

    def placed(self, folder: Path, cache: Path, logs: Path) -> TrialSpec:
        """The trial as this directory's files run it.

        Args:
            folder: The directory.
            cache: The user's cache folder.
            logs: Where bench processes write what they print.
        """
        workload = self.spec.workload.model_copy(update={"tokens_file": str(folder / TOKENS_FILE)})
        return self.spec.model_copy(
            update={
                "exported": str(folder),
                "workload": workload,
                "cache_directory": str(cache),
                "directory": str(logs),
            }
        )


def is_export(folder: Path) -> bool:
    """Whether a directory was exported, and finished."""
    return (folder / EXPORT_FILE).is_file()


def read_manifest(folder: Path) -> ExportFile:
    """Reads ``export.json``.

    Raises:
        InputError: There is none, or it is damaged.
    """
    file = folder / EXPORT_FILE
    if not file.is_file():
        raise InputError(
            f"{folder} has no {EXPORT_FILE}: it is no exported model, or its export was not "
            "finished; write one with autotune export STUDY --pick balanced DIR"
        )
    try:
        return ExportFile.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file} as an exported model: {error}") from error


def read_export(folder: Path, *, whole: bool = False) -> ExportFile:
    """Reads ``export.json`` and looks at the files beside it.

    Args:
        folder: An exported directory.
        whole: Whether all files are read; otherwise those up to 1 MiB, and the size of others.

    Raises:
        InputError: It is none, or a file is missing, cut short or not the one that was written.
    """
    found = read_manifest(folder)
    for name, entry in found.files.items():
        _check(folder, name, entry, whole)
    return found


def _check(folder: Path, name: str, entry: FileEntry, whole: bool) -> None:
    file, again = folder / name, "copy it again, or export the trial again"
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(f"{folder / EXPORT_FILE} names {name}, which lies outside; {again}")
    if not file.is_file():
        raise InputError(f"{file} is missing; {again}")
    size = file.stat().st_size
    if size != entry.size_bytes:
        raise InputError(f"{file} has {size} bytes of {entry.size_bytes}; {again}")
    if (whole or size <= _SMALL_BYTES) and sha256_of(file) != entry.sha256:
        raise InputError(f"{file} is not the file that was written; {again}")


def read_numbers(folder: Path) -> Numbers:
    """Reads ``metrics.json``.

    Raises:
        InputError: It is damaged.
    """
    try:
        return Numbers.model_validate_json((folder / METRICS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {folder / METRICS_FILE}: {error}") from error


def list_files(folder: Path) -> dict[str, FileEntry]:
    """Every file in a directory and its subdirectories, with its hash; by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(file.relative_to(folder)): FileEntry(
            size_bytes=file.stat().st_size, sha256=sha256_of(file)
        )
        for file in files
    }


def sha256_of(file: Path) -> str:
    """Of a file's contents."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

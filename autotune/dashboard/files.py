"""What a study and its trials have to be downloaded: made when it is asked for, kept nowhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from autotune.dashboard.view import StudyView
from autotune.messages import TASK_RUN
from autotune.report.front_file import front_file
from autotune.report.html import render_html
from autotune.store.records import TrialRecord

_TYPES = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".log": "text/plain",
}
STUDY_FILES = ("report.html", "front.json")
_BLOCKS = "blocks.json"
_LOG = "bench.log"


def meta(name: str) -> dict[str, Any]:
    """A file as optuna-dashboard lists it; its id is its name.

    Args:
        name: Of the file.
    """
    kind = _TYPES[Path(name).suffix]
    found = {"artifact_id": name.encode().hex(), "filename": name, "mimetype": kind}
    return {**found, "encoding": None}


def name_of(artifact: str) -> str:
    """The file that an id stands for; empty where it is none of ours."""
    try:
        return bytes.fromhex(artifact).decode()
    except ValueError:
        return ""


def mimetype(name: str) -> str:
    """Of one of our files."""
    return _TYPES[Path(name).suffix]


def study_file(view: StudyView, name: str) -> str | None:
    """The text of a study's file; None where it has none of that name.

    Args:
        view: The study.
        name: Of the file.
    """
    if name == "report.html":
        return render_html(view.summary)
    if name == "front.json":
        return front_file(view.summary).model_dump_json(indent=2)
    return None


def trial_files(trial: TrialRecord, logs: Path) -> list[str]:
    """Names of the files that a trial has.

    Args:
        trial: The trial.
        logs: The folder of the studies on this machine.
    """
    if trial.result is None:
        return []
    blocks = [_BLOCKS] if trial.result.blocks else []
    return [*blocks, *([_LOG] if _log(trial, logs) else [])]


def trial_file(trial: TrialRecord, name: str, logs: Path) -> str | None:
    """The text of a trial's file; None where it has none of that name.

    Args:
        trial: The trial.
        name: Of the file.
        logs: The folder of the studies on this machine.
    """
    if name not in trial_files(trial, logs):
        return None
    if name == _BLOCKS:
        return json.dumps(_blocks(trial), indent=1)
    log = _log(trial, logs)
    return log.read_text(encoding="utf-8", errors="replace") if log else None


def _blocks(trial: TrialRecord) -> dict[str, Any]:
    """Raw block pairs of the search and of each repetition."""
    again = sorted((n, r) for n, r in trial.confirmations.items() if n != TASK_RUN)
    results = [trial.result, *(result for _, result in again)]
    runs = [[pair.model_dump() for pair in r.blocks] for r in results if r is not None]
    return {"trial": trial.number, "recipe": trial.recipe, "runs": runs}


def _log(trial: TrialRecord, logs: Path) -> Path | None:
    """Its log, if that lies in the folder of the studies: the path comes from the database, which
    others may write, and must not name any other file of this machine."""
    if trial.result is None or not trial.result.log:
        return None
    path = Path(trial.result.log).resolve()
    is_ours = path.is_relative_to(logs.resolve()) and path.suffix == ".log"
    return path if is_ours and path.is_file() else None

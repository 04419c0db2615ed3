"""``front.json``: the result of a study for programs."""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from autotune.errors import InputError
from autotune.front import FrontPoint
from autotune.messages import Metrics, RecipeDict, TaskScore
from autotune.metrics import Direction
from autotune.report.summary import StudySummary, words


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Objective(_Part):
    """One objective of the study."""

    name: str
    unit: str
    direction: Direction
    label: str


class Point(_Part):
    """One measured recipe."""

    number: int
    recipe: RecipeDict
    words: str
    """The recipe for a person."""
    against_baseline: str
    """What it gains and costs, for a person."""
    feasible: bool
    fallbacks: tuple[str, ...] = ()
    """What ran otherwise than asked; such a point is never a pick."""
    bounds: str = ""
    """What each pass waits for, for a person; empty where the device's rates were not measured."""
    metrics: Metrics
    tasks: tuple[TaskScore, ...] = ()
    """One for each task file of the study, if they were run for this recipe."""


class FrontFile(_Part):
    """The whole file."""

    schema_version: Literal[1] = 1
    autotune_version: str
    created_at: datetime
    study: str
    state: str
    model: str
    device: str
    traffic: str = ""
    """What the requests were, the share that repeats among it; empty where they were alike."""
    definition_sha256: str
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    baseline: Point | None
    picks: dict[str, int]
    """Pick → trial number of a point of the front; may change while ``state`` is not finished."""
    ties: dict[str, tuple[int, ...]]
    """Pick → trials of the front that cannot be told from it in what it was picked for."""
    front: tuple[Point, ...]
    hypervolume: float
    """Progress of this study, 0 to 1; not comparable between studies."""
    trials: int
    """How many trials are finished."""
    convergence_reason: str
    notes: tuple[str, ...]
    environment: dict[str, str]


def autotune_version() -> str:
    """The installed version; ``unknown`` in a tree that is not installed."""
    try:
        return metadata.version("autotune")
    except metadata.PackageNotFoundError:
        return "unknown"


def front_file(summary: StudySummary) -> FrontFile:
    """Builds the contents of ``front.json``.

    Args:
        summary: The study.
    """
    study = summary.study
    return FrontFile(
        autotune_version=autotune_version(),
        created_at=datetime.now(UTC),
        study=study.name,
        state=study.state.value,
        model=summary.model,
        device=summary.device,
        traffic=summary.traffic,
        definition_sha256=study.definition_sha256,
        objectives=tuple(
            Objective(name=m.name, unit=m.unit, direction=m.direction, label=m.label)
            for m in summary.objectives
        ),
        constraints=study.constraints,
        baseline=file_point(summary, summary.baseline) if summary.baseline else None,
        picks={pick: point.number for pick, point in summary.picks.items()},
        ties=summary.ties,
        front=tuple(file_point(summary, point) for point in summary.front),
        hypervolume=summary.hypervolume,
        trials=sum(trial.result is not None for trial in summary.trials),
        convergence_reason=study.convergence_reason,
        notes=study.notes,
        environment=study.environment,
    )


def file_point(summary: StudySummary, point: FrontPoint) -> Point:
    """A point as ``front.json`` holds it.

    Args:
        summary: The study.
        point: One of its points.
    """
    return Point(
        number=point.number,
        recipe=point.recipe,
        words=words(point),
        against_baseline=summary.against_baseline(point),
        feasible=point.feasible,
        fallbacks=point.fallbacks,
        bounds=summary.bounds(point),
        metrics=point.metrics,
        tasks=point.tasks,
    )


def write_front(summary: StudySummary, path: Path) -> FrontFile:
    """Writes ``front.json``: a reader finds the old file or the new one, never half of one.

    Args:
        summary: The study.
        path: The file; its directory must exist.

    Raises:
        InputError: It cannot be written.
    """
    contents = front_file(summary)
    write_atomically(path, contents.model_dump_json(indent=2) + "\n")
    return contents


def read_front(path: Path) -> FrontFile:
    """Reads ``front.json``.

    Raises:
        InputError: It does not exist or is not such a file.
    """
    try:
        return FrontFile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path} as a front.json: {error}") from error


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file's contents in one step.

    Raises:
        InputError: It cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error

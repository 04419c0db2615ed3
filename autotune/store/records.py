"""What the store hands out: frozen, detached from the database."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from autotune.messages import RecipeDict, TrialResult


class StudyState(StrEnum):
    """Where a study stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """It stopped before its budget or its convergence; ``--resume`` goes on."""
    FINISHED = "finished"


class TrialState(StrEnum):
    """Whether a trial's result is in the database."""

    RUNNING = "running"
    FINISHED = "finished"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StudyRecord(_Record):
    """One study as stored."""

    id: int
    name: str
    state: StudyState
    definition: dict[str, Any]
    """The study file as plain data, complete with its defaults."""
    definition_sha256: str
    objectives: tuple[str, ...]
    """Names of metrics; may shrink when one cannot be measured here (``notes`` says so)."""
    constraints: tuple[str, ...]
    created_at: datetime
    """UTC, like all times of the store."""
    updated_at: datetime
    convergence_reason: str = ""
    """Why the search stopped; empty while it runs."""
    front: dict[str, Any] | None = None
    """What ``front.json`` held when the search last ended."""
    environment: dict[str, str]
    notes: tuple[str, ...] = ()


class TrialRecord(_Record):
    """One trial as stored."""

    study: str
    number: int
    state: TrialState
    recipe: RecipeDict
    recipe_key: str
    setup_key: str
    output_key: str
    attempts: int
    """How often it was started: more than one means that a process vanished."""
    started_at: datetime
    """Of the latest attempt."""
    finished_at: datetime | None = None
    result: TrialResult | None = None
    """Null while it runs."""
    confirmations: dict[int, TrialResult] = Field(default_factory=dict)
    """Repetitions in fresh processes, by their number from 1 on; 0 is the run of the tasks."""

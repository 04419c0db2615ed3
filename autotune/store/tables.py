"""The tables. Every name starts with ``autotune_``: Optuna keeps ``studies`` and ``trials``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

TABLE_PREFIX = "autotune_"


def now() -> datetime:
    """This moment, as the tables keep times."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC; SQLite forgets the zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables of autotune; a change here needs a migration beside it (a test says so)."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        str: String(255),
        float: Double(),
    }


def plain(kind: type[Base]) -> Table:
    """The table itself: a statement on it makes no objects. What every trial writes goes there."""
    table = kind.__table__
    assert isinstance(table, Table)
    return table


class StudyRow(Base):
    """One search."""

    __tablename__ = "autotune_studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str]
    definition: Mapped[dict[str, Any]]
    definition_sha256: Mapped[str]
    objectives: Mapped[list[Any]]
    constraints: Mapped[list[Any]]
    environment: Mapped[dict[str, Any]]
    notes: Mapped[list[Any]]
    convergence_reason: Mapped[str] = mapped_column(Text)
    front: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class TrialRow(Base):
    """One recipe of one study; all of the result but its measurements and blocks."""

    __tablename__ = "autotune_trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "recipe_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    recipe_key: Mapped[str]
    setup_key: Mapped[str]
    output_key: Mapped[str]
    attempts: Mapped[int]
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    explanation: Mapped[str | None] = mapped_column(Text)
    phase_seconds: Mapped[dict[str, Any] | None]
    notes: Mapped[list[Any] | None]
    warm: Mapped[bool | None]
    accuracy_reused: Mapped[bool | None]
    log: Mapped[str | None] = mapped_column(Text)
    environment: Mapped[dict[str, Any] | None]
    contention: Mapped[dict[str, Any] | None]
    fallbacks: Mapped[list[Any] | None]


class MeasurementRow(Base):
    """One metric of one trial: the columns are the fields of ``messages.Measurement``."""

    __tablename__ = "autotune_measurements"
    __table_args__ = (UniqueConstraint("trial_id", "metric"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id, ondelete="CASCADE"))
    metric: Mapped[str]
    value: Mapped[float | None]
    unit: Mapped[str]
    stat: Mapped[str]
    ci_low: Mapped[float | None]
    ci_high: Mapped[float | None]
    n: Mapped[int]
    source: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    converged: Mapped[bool]
    ratio: Mapped[float | None]
    ratio_ci_low: Mapped[float | None]
    ratio_ci_high: Mapped[float | None]
    grade: Mapped[str | None]


class BlocksRow(Base):
    """The raw block pairs of one trial."""

    __tablename__ = "autotune_blocks"

    trial_id: Mapped[int] = mapped_column(
        ForeignKey(TrialRow.id, ondelete="CASCADE"), primary_key=True
    )
    pairs: Mapped[list[Any]]


class ConfirmationRow(Base):
    """One repetition of a trial in fresh processes: a whole result, as JSON."""

    __tablename__ = "autotune_confirmations"
    __table_args__ = (UniqueConstraint("trial_id", "confirmation"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey(TrialRow.id, ondelete="CASCADE"))
    confirmation: Mapped[int]
    result: Mapped[dict[str, Any]]
    finished_at: Mapped[datetime]


class AccuracyRow(Base):
    """Accuracy of one output of one model; belongs to no study, reused by all."""

    __tablename__ = "autotune_accuracy"
    __table_args__ = (
        # Named by hand: PostgreSQL allows 63 characters.
        UniqueConstraint(
            "model_fingerprint",
            "output_key",
            "evaluation_key",
            "environment_key",
            name="uq_autotune_accuracy_key",
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    model_fingerprint: Mapped[str]
    output_key: Mapped[str]
    evaluation_key: Mapped[str]
    environment_key: Mapped[str]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class DatabaseRow(Base):
    """The one row that names this database: workers and coordinator must use the same."""

    __tablename__ = "autotune_database"

    identity: Mapped[str] = mapped_column(primary_key=True)


class JobRow(Base):
    """One trial on its way to a worker and back (``store/jobs.py``)."""

    __tablename__ = "autotune_jobs"
    # A worker that wakes up late must never find another job under its number.
    __table_args__ = (
        UniqueConstraint("study_id", "number", "run"),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(StudyRow.id, ondelete="CASCADE"))
    number: Mapped[int]
    run: Mapped[int]
    queue: Mapped[str]
    state: Mapped[str]
    attempt: Mapped[int]
    deaths: Mapped[int]
    worker: Mapped[str]
    beats: Mapped[int]
    refused: Mapped[dict[str, Any]]
    spec: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]


class ProgressRow(Base):
    """What a running trial is doing, for those who watch from elsewhere (``store/watch.py``)."""

    __tablename__ = "autotune_progress"

    study_id: Mapped[int] = mapped_column(
        ForeignKey(StudyRow.id, ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    phase: Mapped[str]
    detail: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime]


class TokenRow(Base):
    """One token of the HTTP API (``store/tokens.py``)."""

    __tablename__ = "autotune_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    identifier: Mapped[str] = mapped_column(unique=True)
    secret_sha256: Mapped[str]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class SubmissionRow(Base):
    """One study that came through the HTTP API (``store/submissions.py``)."""

    __tablename__ = "autotune_submissions"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    token: Mapped[str]
    study: Mapped[dict[str, Any]]
    resume: Mapped[bool]
    state: Mapped[str]
    exit_code: Mapped[int | None]
    message: Mapped[str] = mapped_column(Text)
    queued_at: Mapped[datetime]
    updated_at: Mapped[datetime]

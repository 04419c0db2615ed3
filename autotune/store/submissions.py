"""Studies that came through the HTTP API: what was asked, and whether it waits, runs or ended."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import func, select, update
from sqlalchemy.exc import IntegrityError

from autotune.errors import InputError
from autotune.store.patience import transaction
from autotune.store.store import Store
from autotune.store.tables import StudyRow, SubmissionRow, now


class SubmissionState(StrEnum):
    """Where a submission is."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    """It was asked to stop, and has not ended yet."""
    ENDED = "ended"
    """Its process ended, however; the study's own record says what came of it."""


class Submission(BaseModel):
    """One study as it was asked for."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    token: str
    """Name of the token that submitted it."""
    study: dict[str, Any]
    """The study file; ``model`` is a name that the server knows."""
    resume: bool
    """Whether the study may exist when it starts."""
    state: SubmissionState
    exit_code: int | None
    message: str
    """Why it failed."""
    queued_at: datetime
    updated_at: datetime


class Submissions:
    """The submissions in one database. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.patience_seconds = store.patience_seconds

    def add(self, name: str, token: str, study: dict[str, Any]) -> Submission:
        """Queues a new study.

        Args:
            name: Of the study.
            token: Name of the token that submits it.
            study: The study file.

        Raises:
            InputError: There is a study or a submission of that name.
        """
        try:
            with self._store._write() as session:
                existing = session.scalar(select(StudyRow.state).filter_by(name=name))
                if existing is not None:
                    raise _exists(name, existing)
                row = _new(name, token, study, resume=False)
                session.add(row)
                session.flush()
                return Submission.model_validate(row)
        except IntegrityError as error:
            raise _exists(name, "submitted") from error

    @transaction
    def resume(self, name: str, token: str, study: dict[str, Any]) -> bool:
        """Queues a study that exists, with this study file.

        Returns:
            False if it waits or runs already; nothing changes then.
        """
        with self._store._write() as session:
            row = session.scalar(select(SubmissionRow).filter_by(name=name).with_for_update())
            if row is None:
                session.add(_new(name, token, study, resume=True))
                return True
            if row.state != SubmissionState.ENDED:
                return False
            row.study, row.resume = study, True
            row.state, row.exit_code, row.message = SubmissionState.QUEUED.value, None, ""
            row.queued_at = row.updated_at = now()
            return True

    @transaction
    def find(self, name: str) -> Submission | None:
        """The submission of that name, if there is one."""
        with self._store._read() as session:
            row = session.scalar(select(SubmissionRow).filter_by(name=name))
            return None if row is None else Submission.model_validate(row)

    @transaction
    def all(self, *states: SubmissionState) -> list[Submission]:
        """Submissions in these states, or all of them, the one that waits longest first."""
        query = select(SubmissionRow).order_by(SubmissionRow.queued_at, SubmissionRow.id)
        if states:
            query = query.where(SubmissionRow.state.in_([state.value for state in states]))
        with self._store._read() as session:
            return [Submission.model_validate(row) for row in session.scalars(query)]

    @transaction
    def count(self, state: SubmissionState) -> int:
        """How many are in a state."""
        query = select(func.count(SubmissionRow.id)).filter_by(state=state.value)
        with self._store._read() as session:
            return session.scalars(query).one()

    @transaction
    def change(
        self,
        name: str,
        held: SubmissionState,
        state: SubmissionState,
        exit_code: int | None = None,
        message: str = "",
    ) -> bool:
        """Moves a submission on; the update itself decides between two who try.

        Args:
            name: Of the study.
            held: The state that it must be in.
            state: The next one.
            exit_code: Of its process, where that is known.
            message: Why it failed.

        Returns:
            False if it was in another state; nothing changes then.
        """
        values = {"state": state.value, "exit_code": exit_code, "message": message}
        with self._store._write() as session:
            changed = session.scalar(
                update(SubmissionRow)
                .where(SubmissionRow.name == name, SubmissionRow.state == held.value)
                .values(**values, updated_at=now())
                .returning(SubmissionRow.id)
            )
        return changed is not None


def _new(name: str, token: str, study: dict[str, Any], *, resume: bool) -> SubmissionRow:
    queued = now()
    return SubmissionRow(
        name=name,
        token=token,
        study=study,
        resume=resume,
        state=SubmissionState.QUEUED.value,
        message="",
        queued_at=queued,
        updated_at=queued,
    )


def _exists(name: str, state: str) -> InputError:
    return InputError(
        f"study {name!r} exists already ({state}); resume it, or choose another name"
    )

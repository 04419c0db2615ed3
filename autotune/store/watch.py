"""Watching a study from another process: what its trials do, without their numbers."""

from __future__ import annotations

import logging
import time
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from autotune.errors import StoreError
from autotune.messages import Progress, RecipeDict
from autotune.outcome import Outcome
from autotune.store.patience import transaction
from autotune.store.records import StudyState, TrialState
from autotune.store.store import Store
from autotune.store.studies import study_row
from autotune.store.tables import ConfirmationRow, ProgressRow, StudyRow, TrialRow, now

_EVERY_SECONDS = 1.0
_AFTER_ERROR_SECONDS = 30.0
_log = logging.getLogger(__name__)


class _Seen(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class SeenTrial(_Seen):
    """A trial without its numbers."""

    number: int
    state: TrialState
    recipe: RecipeDict
    outcome: Outcome | None
    explanation: str | None
    attempts: int
    started_at: datetime
    finished_at: datetime | None


class SeenPhase(_Seen):
    """What a trial does at the moment."""

    number: int
    phase: str
    detail: str
    updated_at: datetime


class Look(_Seen):
    """A study at one moment."""

    name: str
    state: StudyState
    convergence_reason: str
    created_at: datetime
    updated_at: datetime
    trials: tuple[SeenTrial, ...]
    """By number."""
    repetitions: int
    """How many are stored so far, in fresh processes."""
    phases: tuple[SeenPhase, ...]
    """Of those trials that said what they do."""


class Watch:
    """Looks at studies and says what trials do. Looking costs the same however many metrics and
    blocks a trial has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.patience_seconds = store.patience_seconds

    @transaction
    def look(self, study: str) -> Look | None:
        """A study now; None if there is none of that name."""
        with self._store._read() as session:
            row = session.scalar(select(StudyRow).filter_by(name=study))
            return None if row is None else _look(session, row)

    def say(self, study: str, progress: Progress) -> None:
        """Keeps what a trial does. Does not wait for a server that is away.

        Raises:
            StoreError: It could not be kept.
        """
        given = {"phase": progress.phase, "detail": progress.detail, "updated_at": now()}
        with self._store._write() as session:
            key = {"study_id": study_row(session, study).id, "number": progress.number}
            changed = session.scalar(
                update(ProgressRow).filter_by(**key).values(**given).returning(ProgressRow.number)
            )
            if changed is None:
                session.add(ProgressRow(**key, **given))

    @transaction
    def clear(self, study: str) -> None:
        """Forgets what trials did: the process that ran them ends, or has just begun."""
        with self._store._write() as session:
            row = study_row(session, study)
            session.execute(delete(ProgressRow).where(ProgressRow.study_id == row.id))


def _look(session: Session, study: StudyRow) -> Look:
    mine = TrialRow.study_id == study.id
    trials = session.scalars(select(TrialRow).where(mine).order_by(TrialRow.number))
    again = session.scalars(
        select(func.count(ConfirmationRow.id)).join(TrialRow).where(mine)
    ).one()
    phases = session.scalars(
        select(ProgressRow).filter_by(study_id=study.id).order_by(ProgressRow.number)
    )
    return Look(
        name=study.name,
        state=StudyState(study.state),
        convergence_reason=study.convergence_reason,
        created_at=study.created_at,
        updated_at=study.updated_at,
        trials=tuple(SeenTrial.model_validate(row) for row in trials),
        repetitions=again,
        phases=tuple(SeenPhase.model_validate(row) for row in phases),
    )


class ProgressWriter:
    """Keeps what a search's trials do: every new phase, and otherwise once a second.

    Nothing rests on it, so that a search is never held up: where the database does not answer,
    nothing is kept for half a minute.
    """

    def __init__(self, watch: Watch, study: str) -> None:
        self._watch = watch
        self._study = study
        self._last: dict[int, tuple[str, float]] = {}
        self._silent_until = 0.0

    def __call__(self, progress: Progress) -> None:
        """Keeps it, if it is time.

        Args:
            progress: What a trial does now.
        """
        moment = time.monotonic()
        phase, when = self._last.get(progress.number, ("", 0.0))
        if moment < self._silent_until:
            return
        if phase == progress.phase and moment - when < _EVERY_SECONDS:
            return
        self._last[progress.number] = (progress.phase, moment)
        try:
            self._watch.say(self._study, progress)
        except (StoreError, IntegrityError) as error:
            _log.warning("what trial %d does cannot be kept: %s", progress.number, error)
            self._silent_until = moment + _AFTER_ERROR_SECONDS

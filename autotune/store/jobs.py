"""Trials on their way to workers: the database is the truth, the broker only rings the bell.

A job is queued, leased by one worker, and done. Every lease has an attempt number; whoever holds
an older one has lost the job. Liveness is a counter that the worker raises, so that no two
clocks are ever compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, and_, bindparam, delete, or_, select, update
from sqlalchemy.orm import Session

from autotune.messages import TASK_RUN, TrialResult, TrialSpec
from autotune.store.patience import transaction
from autotune.store.records import TrialRecord
from autotune.store.store import Store
from autotune.store.studies import add_new, study_id
from autotune.store.tables import JobRow, now, plain

TASK_JOB = -1
"""The ``run`` of a job that only runs the study's tasks."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"


class Job(BaseModel):
    """A job without its spec."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: int
    number: int
    """Of the trial."""
    run: int
    """0: the search's; from 1 on, a repetition; ``TASK_JOB``: the tasks."""
    state: JobState
    attempt: int
    """Counts the times it was queued; names the lease."""
    deaths: int
    """Attempts whose worker vanished."""
    worker: str
    """Who has it or had it last."""
    beats: int
    refused: dict[str, str]
    """Worker → why it cannot run this trial."""
    result: TrialResult | None = None
    """Null until it is done."""


_JOBS = plain(JobRow)
_LOOK = (  # specs are long: a look at many jobs leaves them where they are
    select(*(_JOBS.c[name] for name in Job.model_fields))
    .where(_JOBS.c.id.in_(bindparam("jobs", expanding=True)))
    .order_by(_JOBS.c.id)
)
_ONE_JOB = ("number", "run")
"""What tells the jobs of one study apart."""


class Jobs:
    """The jobs in one database. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.patience_seconds = store.patience_seconds

    @transaction
    def put(self, spec: TrialSpec, queue: str) -> Job:
        """Queues a trial. One that is there already, from a coordinator that died, stays, if it
        asks for the same.

        Args:
            spec: The trial.
            queue: Where its message goes.
        """
        with self._store._write() as session:
            new = _new_job(spec, queue)
            row = add_new(session, spec.study, _JOBS, new, _ONE_JOB)
            return Job.model_validate(row or _adopted(session, spec.study, new))

    @transaction
    def lease(self, job: int, attempt: int, worker: str) -> TrialSpec | None:
        """Takes a queued job; again for the one who has it.

        Returns:
            The trial; None where somebody else has it, nobody wants it any more, or this worker
            refused it before.
        """
        mine = and_(JobRow.state == JobState.LEASED.value, JobRow.worker == worker)
        with self._store._write() as session:
            refused = session.scalar(select(JobRow.refused).where(JobRow.id == job))
            if refused is None or worker in refused:
                return None
            given = session.scalar(
                update(JobRow)
                .where(
                    JobRow.id == job,
                    JobRow.attempt == attempt,
                    or_(JobRow.state == JobState.QUEUED.value, mine),
                )
                .values(state=JobState.LEASED.value, worker=worker, beats=JobRow.beats + 1)
                .returning(JobRow.spec)
            )
        return None if given is None else TrialSpec.model_validate(given)

    def beat(self, job: int, attempt: int) -> bool:
        """Says that a lease's holder is alive; does not wait for the database.

        Returns:
            False if the lease is no longer theirs: called off, done, or given to another.
        """
        return self._change(job, attempt, beats=JobRow.beats + 1)

    @transaction
    def expire(self, job: int, attempt: int, beats: int) -> bool:
        """Queues a job again whose holder gave no sign of life.

        Returns:
            False if it gave one meanwhile.
        """
        return self._change(
            job,
            attempt,
            JobRow.beats == beats,
            state=JobState.QUEUED.value,
            attempt=JobRow.attempt + 1,
            deaths=JobRow.deaths + 1,
        )

    @transaction
    def refuse(self, job: int, attempt: int, worker: str, why: str) -> bool:
        """Gives a job back that this worker cannot run; it will not get it again.

        Returns:
            False if the lease is no longer theirs.
        """
        with self._store._write() as session:
            row = session.get(JobRow, job, with_for_update=True)
            if row is None or (row.attempt, row.worker) != (attempt, worker):
                return False
            if row.state != JobState.LEASED.value:
                return False
            row.state = JobState.QUEUED.value
            row.attempt += 1
            row.refused = {**row.refused, worker: why}
        return True

    def _change(self, job: int, held: int, *only: ColumnElement[bool], **values: object) -> bool:
        """Changes a job that is leased under that attempt; the update itself decides between two
        processes."""
        with self._store._write() as session:
            changed = session.scalar(
                update(JobRow)
                .where(
                    JobRow.id == job,
                    JobRow.attempt == held,
                    JobRow.state == JobState.LEASED.value,
                    *only,
                )
                .values(**values)
                .returning(JobRow.id)
            )
        return changed is not None

    @transaction
    def finish(self, job: int, result: TrialResult) -> bool:
        """Stores a job's result, whoever measured it: what was measured is never thrown away.

        Returns:
            False if it has one, or nobody wants it any more; nothing changes then.
        """
        with self._store._write() as session:
            changed = session.scalar(
                update(JobRow)
                .where(JobRow.id == job, JobRow.state != JobState.DONE.value)
                .values(state=JobState.DONE.value, result=result.model_dump(mode="json"))
                .returning(JobRow.id)
            )
        return changed is not None

    @transaction
    def look(self, jobs: Sequence[int]) -> list[Job]:
        """Those of the given jobs that exist, in the order in which they were queued."""
        with self._store._read() as session:
            return [Job.model_validate(row) for row in session.execute(_LOOK, {"jobs": jobs})]

    @transaction
    def remove(self, jobs: Sequence[int]) -> None:
        """Forgets jobs whose results are stored."""
        with self._store._write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_(jobs)))

    @transaction
    def call_off(self, study: str) -> None:
        """Forgets a study's work that nobody wants any more; what is measured stays."""
        with self._store._write() as session:
            undone = JobRow.state != JobState.DONE.value
            own = JobRow.study_id == study_id(session, study)
            session.execute(delete(JobRow).where(own, undone))

    @transaction
    def tidy(self, study: str) -> None:
        """Forgets a study's results that are stored already: their coordinator died just then."""
        trials = {trial.number: trial for trial in self._store.trials(study, blocks=False)}
        with self._store._write() as session:
            done = JobRow.state == JobState.DONE.value
            own = JobRow.study_id == study_id(session, study)
            for job in session.scalars(select(JobRow).where(own, done)):
                trial = trials.get(job.number)
                if trial is not None and _is_stored(trial, job.run):
                    session.delete(job)


def _new_job(spec: TrialSpec, queue: str) -> dict[str, Any]:
    return {
        "number": spec.number,
        "run": _run(spec),
        "queue": queue,
        "state": JobState.QUEUED.value,
        "attempt": 1,
        "deaths": 0,
        "worker": "",
        "beats": 0,
        "refused": {},
        "spec": spec.model_dump(mode="json"),
        "created_at": now(),
    }


def _adopted(session: Session, study: str, new: dict[str, Any]) -> JobRow:
    """The job that a coordinator left behind, if it asks for the same; else the new one."""
    own = study_id(session, study)
    alike = {name: new[name] for name in _ONE_JOB}
    row = session.scalars(select(JobRow).filter_by(study_id=own, **alike)).one()
    if (row.queue, _asked(row.spec)) != (new["queue"], _asked(new["spec"])):
        session.delete(row)
        session.flush()
        row = JobRow(study_id=own, **new)
        session.add(row)
        session.flush()
    return row


def _run(spec: TrialSpec) -> int:
    return TASK_JOB if spec.tasks_only else spec.confirmation


def _asked(spec: dict[str, Any]) -> dict[str, Any]:
    """What a trial asks for, without what a coordinator knows and where it keeps things."""
    known = ("known_accuracy", "baseline", "rivals", "directory", "cache_directory")
    return {name: value for name, value in spec.items() if name not in known}


def _is_stored(trial: TrialRecord, run: int) -> bool:
    if run == 0:
        return trial.result is not None
    return (TASK_RUN if run == TASK_JOB else run) in trial.confirmations

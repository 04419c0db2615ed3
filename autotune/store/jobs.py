"""Trials on their way to workers: the database is the truth, the broker only rings the bell.

A job is queued, leased by one worker, and done. Every lease has an attempt number; whoever holds
an older one has lost the job. Liveness is a counter that the worker raises, so that no two
clocks are ever compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from sqlalchemy import ColumnElement, delete, select, update

from autotune.messages import TrialResult, TrialSpec
from autotune.store.patience import transaction
from autotune.store.store import Store
from autotune.store.studies import study_row
from autotune.store.tables import JobRow, now

TASK_JOB = -1
"""The ``run`` of a job that only runs the study's tasks."""


class JobState(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    LEASED = "leased"
    DONE = "done"


class Job(BaseModel):
    """A job without its spec and its result."""

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
    """Attempts whose worker vanished or refused."""
    worker: str
    """Who has it or had it last."""
    beats: int
    refusal: str
    """Why the last worker that refused it did."""


class Jobs:
    """The jobs in one database. Every method is one transaction."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.patience_seconds = store.patience_seconds

    @transaction
    def put(self, spec: TrialSpec, queue: str) -> Job:
        """Queues a trial; one that is there already, from a coordinator that died, stays.

        Args:
            spec: The trial.
            queue: Where its message goes.
        """
        with self._store._write() as session:
            study = study_row(session, spec.study)
            key = {"study_id": study.id, "number": spec.number, "run": _run(spec)}
            row = session.scalar(select(JobRow).filter_by(**key))
            if row is None:
                row = JobRow(
                    **key,
                    queue=queue,
                    state=JobState.QUEUED.value,
                    attempt=1,
                    deaths=0,
                    worker="",
                    beats=0,
                    refusal="",
                    spec=spec.model_dump(mode="json"),
                    created_at=now(),
                )
                session.add(row)
                session.flush()
            return Job.model_validate(row)

    @transaction
    def lease(self, job: int, attempt: int, worker: str) -> TrialSpec | None:
        """Takes a queued job.

        Returns:
            The trial; None where somebody else has it, or nobody wants it any more.
        """
        with self._store._write() as session:
            given = session.scalar(
                update(JobRow)
                .where(
                    JobRow.id == job,
                    JobRow.attempt == attempt,
                    JobRow.state == JobState.QUEUED.value,
                )
                .values(state=JobState.LEASED.value, worker=worker, beats=JobRow.beats + 1)
                .returning(JobRow.spec)
            )
        return None if given is None else TrialSpec.model_validate(given)

    @transaction
    def beat(self, job: int, attempt: int) -> bool:
        """Says that a lease's holder is alive.

        Returns:
            False if the lease is no longer theirs: cancelled, done, or given to another.
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
    def refuse(self, job: int, attempt: int, why: str) -> bool:
        """Gives a job back that this worker cannot run.

        Returns:
            False if the lease is no longer theirs.
        """
        return self._change(
            job,
            attempt,
            state=JobState.QUEUED.value,
            attempt=JobRow.attempt + 1,
            deaths=JobRow.deaths + 1,
            refusal=why,
        )

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
            found = session.scalars(select(JobRow).where(JobRow.id.in_(jobs)).order_by(JobRow.id))
            return [Job.model_validate(row) for row in found]

    @transaction
    def result(self, job: int) -> TrialResult:
        """The result of a job that is done."""
        with self._store._read() as session:
            found = session.scalars(select(JobRow.result).where(JobRow.id == job)).one()
        return TrialResult.model_validate(found)

    @transaction
    def remove(self, jobs: Sequence[int]) -> None:
        """Forgets jobs: results that were taken, or work that nobody wants any more."""
        with self._store._write() as session:
            session.execute(delete(JobRow).where(JobRow.id.in_(jobs)))


def _run(spec: TrialSpec) -> int:
    return TASK_JOB if spec.tasks_only else spec.confirmation

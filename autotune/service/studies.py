"""Studies as the API shows them: the database's record and what the service knows besides."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from autotune.errors import unknown_name
from autotune.report.front_file import FrontFile, front_file
from autotune.report.html import render_html
from autotune.report.summary import StudySummary, words
from autotune.service.errors import not_found
from autotune.store.lock import is_run
from autotune.store.records import StudyRecord, StudyState
from autotune.store.state import state_words
from autotune.store.store import Store
from autotune.store.submissions import Submission, Submissions, SubmissionState


class StudyStatus(StrEnum):
    """Where a study stands, seen from outside."""

    QUEUED = "queued"
    STARTING = "starting"
    """Its process runs and still checks the study, or trains the demo model."""
    RUNNING = "running"
    STOPPING = "stopping"
    INTERRUPTED = "interrupted"
    """It was stopped, or its process died: it can be resumed."""
    FAILED = "failed"
    """Its process refused it or broke off; ``message`` says why."""
    FINISHED = "finished"

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens unless somebody resumes it."""
        return self in (StudyStatus.INTERRUPTED, StudyStatus.FAILED, StudyStatus.FINISHED)


class StudyOverview(BaseModel):
    """A study in a list."""

    model_config = ConfigDict(frozen=True)

    name: str
    status: StudyStatus
    message: str
    """Why it failed, or why the search stopped."""
    submitted_by: str | None
    """Name of the token; null for a study begun from a command line."""
    outcomes: dict[str, int]
    """Outcome, or ``running`` → how many trials."""
    created_at: datetime
    updated_at: datetime


class BestTrial(BaseModel):
    """A pick of the front so far."""

    trial: int
    recipe: dict[str, Any]
    words: str
    against_baseline: str


class StudyDetail(StudyOverview):
    """One study."""

    objectives: tuple[str, ...]
    constraints: tuple[str, ...]
    repetitions: int
    """Stored repetitions in fresh processes."""
    best: dict[str, BestTrial]
    """Pick → what it is so far."""
    elapsed_seconds: float
    """From its beginning to its latest change."""
    notes: tuple[str, ...]


class Studies:
    """Reads studies for the API. Every method may raise StoreError."""

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url
        self._submissions = Submissions(store)

    def overviews(self) -> list[StudyOverview]:
        """All studies, those that wait included, oldest first."""
        records = {record.name: record for record in self._store.studies()}
        submissions = {s.name: s for s in self._submissions.all()}
        counts = self._store.outcome_counts()
        names = [*records, *(name for name in submissions if name not in records)]
        return [
            self._overview(records.get(name), submissions.get(name), counts.get(name, {}))
            for name in names
        ]

    def status(self, name: str) -> StudyStatus:
        """Where a study stands.

        Raises:
            ApiError: There is none of that name.
        """
        return self._status(*self._find(name))

    def detail(self, name: str) -> StudyDetail:
        """One study with what is best so far.

        Raises:
            ApiError: There is none of that name.
        """
        record, submission = self._find(name)
        counts = self._store.outcome_counts().get(name, {}) if record else {}
        overview = self._overview(record, submission, counts)
        if record is None:
            return StudyDetail(**overview.model_dump(), **_NOTHING_YET)
        summary = StudySummary.of(record, self._store.trials(name, blocks=False))
        return StudyDetail(
            **overview.model_dump(),
            objectives=record.objectives,
            constraints=record.constraints,
            repetitions=sum(len(trial.confirmations) for trial in summary.trials),
            best=_best(summary),
            elapsed_seconds=(record.updated_at - record.created_at).total_seconds(),
            notes=record.notes,
        )

    def front(self, name: str) -> FrontFile:
        """The contents of ``front.json`` as they would be written now.

        Raises:
            ApiError: There is no such study, or it has no measured trial yet.
        """
        return front_file(self._summary(name))

    def report(self, name: str) -> str:
        """The HTML report as it would be written now.

        Raises:
            ApiError: There is no such study, or it has no measured trial yet.
        """
        return render_html(self._summary(name))

    def _summary(self, name: str) -> StudySummary:
        record, _ = self._find(name)
        trials = self._store.trials(name, blocks=False) if record else []
        if record is None or not any(trial.result for trial in trials):
            raise not_found(f"study {name!r} has no measured trial yet; ask again later")
        return StudySummary.of(record, trials, state_words(self._url, record))

    def _find(self, name: str) -> tuple[StudyRecord | None, Submission | None]:
        # The submission first: a study is never seen neither waiting nor there.
        submission, record = self._submissions.find(name), self._store.find_study(name)
        if record is None and submission is None:
            known = {s.name for s in self._submissions.all()}
            known |= {record.name for record in self._store.studies()}
            raise not_found(unknown_name("study", name, known))
        return record, submission

    def _overview(
        self, record: StudyRecord | None, submission: Submission | None, counts: dict[str, int]
    ) -> StudyOverview:
        times = [(s.queued_at, s.updated_at) for s in [submission] if s]
        times += [(r.created_at, r.updated_at) for r in [record] if r]
        why = submission.message if submission else ""
        return StudyOverview(
            name=record.name if record else submission.name if submission else "",
            status=self._status(record, submission),
            message=why or (record.convergence_reason if record else ""),
            submitted_by=submission.token if submission else None,
            outcomes=counts,
            created_at=min(begun for begun, _ in times),
            updated_at=max(changed for _, changed in times),
        )

    def _status(self, record: StudyRecord | None, submission: Submission | None) -> StudyStatus:
        if submission is not None and submission.state is not SubmissionState.ENDED:
            if submission.state is not SubmissionState.RUNNING:
                return StudyStatus(submission.state.value)
            return StudyStatus.RUNNING if record else StudyStatus.STARTING
        if record is not None and record.state is StudyState.FINISHED:
            return StudyStatus.FINISHED
        # Its process may be another's, or may have died without a word.
        if record is not None and record.state is StudyState.RUNNING and self._is_run(record):
            return StudyStatus.RUNNING
        failed = submission is not None and submission.message
        return StudyStatus.FAILED if failed else StudyStatus.INTERRUPTED

    def _is_run(self, record: StudyRecord) -> bool:
        return is_run(self._url, record.name)


_NOTHING_YET: dict[str, Any] = {
    "objectives": (),
    "constraints": (),
    "repetitions": 0,
    "best": {},
    "elapsed_seconds": 0.0,
    "notes": (),
}


def _best(summary: StudySummary) -> dict[str, BestTrial]:
    return {
        pick: BestTrial(
            trial=point.number,
            recipe=point.recipe,
            words=words(point),
            against_baseline=summary.against_baseline(point),
        )
        for pick, point in summary.picks.items()
    }

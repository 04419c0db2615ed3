"""Runs trials on Celery workers; survives the death of any of them, of the broker, and of the
database's server for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from autotune.errors import BrokerError
from autotune.execute.base import OnProgress
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import RunJob, WorkerCard
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.store.jobs import Job, Jobs, JobState


@dataclass(frozen=True)
class Patience:
    """How long what may pass before the executor does something about it."""

    lease_seconds: float = 30.0
    """Without a beat, until a worker counts as dead."""
    bell_seconds: float = 10.0
    """Until a job that nobody took, though a worker is idle, is rung for again."""
    look_seconds: float = 1.0
    """Between two looks at the database where the broker tells nothing."""
    max_deaths: int = 3
    """So many workers may die of a trial, or refuse it, before it is lost."""


@dataclass
class _Watched:
    """A job in flight, with what the coordinator's own clock says of it."""

    spec: TrialSpec
    seen: tuple[int, int] = (0, 0)
    """Attempt and beats at the last look."""
    changed: float = field(default_factory=time.monotonic)
    rung: tuple[int, float] = (0, 0.0)
    """The attempt that was last rung for, and when."""


class FleetExecutor:
    """Sends trials to the workers of one queue."""

    def __init__(
        self,
        broker: Broker,
        jobs: Jobs,
        study: str,
        queue: str,
        on_progress: OnProgress,
        patience: Patience = Patience(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = broker
        self._jobs = jobs
        self._queue = queue
        self._on_progress = on_progress
        self._patience = patience
        self._clock = clock
        self._listener = broker.listen(study)
        self._running: dict[int, _Watched] = {}
        self._handed_over: list[int] = []
        self._ready: deque[Job] = deque()
        self._workers: tuple[WorkerCard, ...] = ()
        self._latest_setup: str | None = None
        self._counted = -float("inf")

    @property
    def slots(self) -> int:
        """One trial for each worker that is alive, and one while none is."""
        self._count_workers()
        return max(1, len(self._workers))

    def submit(self, spec: TrialSpec) -> None:
        """Queues a trial; the job of a coordinator that died is adopted, running or done."""
        job = self._jobs.put(spec, self._queue)
        self._running[job.id] = _Watched(spec, changed=self._clock())
        if job.state is JobState.QUEUED:
            self._ring(job)

    def wait(self) -> TrialResult:
        """Blocks until the next trial has ended."""
        # Whoever took the latest result has stored it by now.
        self._forget()
        while True:
            jobs = self._jobs.look(list(self._running))
            done = next((job for job in jobs if job.state is JobState.DONE), None)
            if done is not None:
                return self._hand_over(done)
            self._count_workers()
            for job in jobs:
                self._tend(job)
            self._listen()

    def warm_setup(self) -> str | None:
        """The latest trial's where there is one worker only; else nobody knows who takes the
        next one."""
        return self._latest_setup if len(self._workers) == 1 else None

    def close(self) -> None:
        """Calls off what is still running: its worker notices at its next beat."""
        self._forget()
        if self._running:
            self._jobs.remove(list(self._running))
            self._running.clear()
        self._listener.close()

    def _hand_over(self, job: Job) -> TrialResult:
        result = self._jobs.result(job.id)
        self._latest_setup = self._running.pop(job.id).spec.setup_key
        self._handed_over.append(job.id)
        return result

    def _forget(self) -> None:
        if self._handed_over:
            self._jobs.remove(self._handed_over)
            self._handed_over.clear()

    def _tend(self, job: Job) -> None:
        """Rings again for a job that nobody took, and queues one again whose worker died."""
        watched, now = self._running[job.id], self._clock()
        if (job.attempt, job.beats) != watched.seen:
            watched.seen, watched.changed = (job.attempt, job.beats), now
        if job.deaths >= self._patience.max_deaths:
            self._jobs.finish(job.id, self._lost(job))
        elif job.state is JobState.QUEUED:
            self._tend_queued(job, watched, now)
        elif now - watched.changed > self._patience.lease_seconds:
            # Rung for at the next look, under its next attempt.
            self._jobs.expire(job.id, job.attempt, job.beats)

    def _tend_queued(self, job: Job, watched: _Watched, now: float) -> None:
        attempt, rung = watched.rung
        idle = any(card.job is None for card in self._workers)
        if attempt != job.attempt or (idle and now - rung > self._patience.bell_seconds):
            self._ring(job)
        if not self._workers:
            detail = "no worker is up"
            self._on_progress(Progress(number=job.number, phase="lock", detail=detail))

    def _ring(self, job: Job) -> None:
        if self._broker.publish(self._queue, RunJob(job=job.id, attempt=job.attempt)):
            self._running[job.id].rung = (job.attempt, self._clock())

    def _lost(self, job: Job) -> TrialResult:
        why = f"{job.deaths} workers died while they ran this recipe, the last {job.worker}"
        if job.refusal:
            why = f"{job.deaths} times refused or lost; the last refusal: {job.refusal}"
        return TrialResult(number=job.number, outcome=Outcome.LOST, explanation=why)

    def _count_workers(self) -> None:
        """At most once a look: the loop asks often."""
        if self._clock() - self._counted < self._patience.look_seconds:
            return
        try:
            found = self._broker.workers()
        except BrokerError:
            return  # what was known last counts until the broker is back
        self._workers = tuple(card for card in found if card.queue == self._queue)
        self._counted = self._clock()

    def _listen(self) -> None:
        """Waits for a sign, for a look's time at most."""
        try:
            for event in self._listener.events(self._patience.look_seconds):
                if event.progress is not None and event.job in self._running:
                    self._on_progress(event.progress)
        except BrokerError:
            time.sleep(self._patience.look_seconds)

"""Runs trials on Celery workers; survives the death of any of them, of the broker, and of the
database's server for a while."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from autotune.errors import AutotuneError, BrokerError
from autotune.execute.base import OnProgress
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import RunJob, WorkerCard
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.store.jobs import Job, Jobs, JobState

_FORGET_AT_ONCE = 20
"""So many jobs are kept, though their results are stored, and removed together."""

_log = logging.getLogger(__name__)


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
    """So many workers may die of a trial before it is lost."""


@dataclass
class _Watched:
    """A job in flight, with what the coordinator's own clock says of it."""

    spec: TrialSpec
    changed: float
    """When it last gave a sign of life."""
    seen: tuple[int, int] = (0, 0)
    """Attempt and beats at the last look."""
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
        *,
        patience: Patience = Patience(),
        keep: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            broker: Where the workers listen.
            jobs: Where they look.
            study: The study's name.
            queue: Of the workers whose numbers may be compared.
            on_progress: Told what running trials do.
            patience: How long is waited for what.
            keep: Called while waiting; raises once another coordinator has the study.
            clock: Seconds that only go on.
        """
        self._broker = broker
        self._jobs = jobs
        self._study = study
        self._queue = queue
        self._on_progress = on_progress
        self._patience = patience
        self._keep = keep
        self._clock = clock
        self._listener = broker.listen(study)
        self._running: dict[int, _Watched] = {}
        self._done: deque[Job] = deque()
        """Seen to be done at the last look, and not handed over."""
        self._handed_over: list[int] = []
        self._stored: list[int] = []
        self._looked = clock()
        self._workers: tuple[WorkerCard, ...] = ()
        self._latest_setup: str | None = None
        self._counted = -float("inf")
        self._away = False
        jobs.tidy(study)

    @property
    def slots(self) -> int:
        """One trial for each worker that is alive, and one while none is."""
        self._count_workers()
        return max(1, len(self._workers))

    def submit(self, spec: TrialSpec) -> None:
        """Queues a trial; the job of a coordinator that died is adopted, running or done."""
        job = self._jobs.put(spec, self._queue)
        self._running[job.id] = _Watched(spec, self._clock())
        if job.state is JobState.QUEUED:
            self._ring(job)

    def wait(self) -> TrialResult:
        """Blocks until the next trial has ended.

        Raises:
            InputError: Another coordinator has the study now.
        """
        # Whoever took the latest result has stored it by now.
        self._stored += self._handed_over
        self._handed_over.clear()
        if len(self._stored) >= _FORGET_AT_ONCE:
            self._forget()
        while not self._done:
            self._keep()
            self._count_workers()
            for job in self._look():
                if job.state is JobState.DONE:
                    self._done.append(job)
                else:
                    self._tend(job)
            if not self._done:
                self._listen()
        return self._hand_over(self._done.popleft())

    def _forget(self) -> None:
        self._jobs.remove(self._stored)
        self._stored.clear()

    def warm_setup(self) -> str | None:
        """The latest trial's where there is one worker only; else nobody knows who takes the
        next one."""
        return self._latest_setup if len(self._workers) == 1 else None

    def close(self) -> None:
        """Calls off what is still running: its worker notices at its next beat. What is measured
        and was not taken stays for the next coordinator; so does all that another one has now."""
        self._listener.close()
        self._jobs.patience_seconds = 0.0  # nobody shall wait for minutes to stop
        try:
            self._keep()
            self._forget()
            self._jobs.call_off(self._study)
        except AutotuneError as error:
            _log.warning("running trials of %s are not called off: %s", self._study, error)

    def _look(self) -> list[Job]:
        """What the database says of the jobs in flight; one that is gone is queued again."""
        jobs = self._jobs.look(list(self._running))
        for lost in self._running.keys() - {job.id for job in jobs}:
            self.submit(self._running.pop(lost).spec)
        now = self._clock()
        if now - self._looked > self._patience.lease_seconds / 2:
            # The database was away, or this machine asleep: nobody could be seen to live.
            for watched in self._running.values():
                watched.changed = now
        self._looked = now
        return jobs

    def _hand_over(self, job: Job) -> TrialResult:
        assert job.result is not None
        self._latest_setup = self._running.pop(job.id).spec.setup_key
        self._handed_over.append(job.id)
        return job.result

    def _tend(self, job: Job) -> None:
        """Rings again for a job that nobody took, and queues one again whose worker died."""
        watched, now = self._running[job.id], self._clock()
        if (job.attempt, job.beats) != watched.seen:
            watched.seen, watched.changed = (job.attempt, job.beats), now
        if job.state is JobState.QUEUED:
            self._tend_queued(job, watched, now)
        elif now - watched.changed > self._patience.lease_seconds and self._jobs.expire(
            job.id, job.attempt, job.beats
        ):  # rung for at the next look, under its next attempt
            _log.warning(
                "worker %s has given no sign of life for %g s: trial %d goes to the next one",
                job.worker,
                self._patience.lease_seconds,
                job.number,
            )

    def _tend_queued(self, job: Job, watched: _Watched, now: float) -> None:
        willing = [card for card in self._workers if card.name not in job.refused]
        if job.deaths >= self._patience.max_deaths or (self._workers and not willing):
            self._jobs.finish(job.id, self._lost(job))
            return
        attempt, rung = watched.rung
        idle = any(card.job is None for card in willing)
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
        if job.deaths < self._patience.max_deaths:
            refusals = "; ".join(f"{name}: {words}" for name, words in job.refused.items())
            why = f"no worker can run it: {refusals}"
        return TrialResult(number=job.number, outcome=Outcome.LOST, explanation=why)

    def _count_workers(self) -> None:
        """At most once a look: the loop asks often."""
        if self._clock() - self._counted < self._patience.look_seconds:
            return
        self._counted = self._clock()
        try:
            found = self._broker.workers()
        except BrokerError as error:
            self._say_away(error)  # what was known last counts until it is back
            return
        self._away = False
        self._workers = tuple(card for card in found if card.queue == self._queue)

    def _listen(self) -> None:
        """Waits for a job's end, for a look's time at most."""
        until = self._clock() + self._patience.look_seconds
        try:
            while (left := until - self._clock()) > 0:
                if self._hear(left):
                    return
        except BrokerError as error:
            self._say_away(error)
            time.sleep(self._patience.look_seconds)

    def _hear(self, seconds: float) -> bool:
        """Passes on what comes; whether it is worth a look at the database."""
        over = False
        for event in self._listener.events(seconds):
            if event.progress is None:
                over = True
            elif event.job in self._running:
                self._on_progress(event.progress)
        return over

    def _say_away(self, error: BrokerError) -> None:
        """Once, not every second."""
        if not self._away:
            _log.warning("%s; what runs goes on, the rest waits for it", error)
        self._away = True

"""The Celery side of a worker: one child process, one device, one job at a time."""

from __future__ import annotations

import logging
import os
import socket
from typing import Any

from celery import Celery, signals
from pydantic import ValidationError
from structlog.contextvars import bound_contextvars

from autotune.device import detect
from autotune.energy import energy_source
from autotune.environment import ENV_ID, describe_environment
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import RUN_JOB, RunJob, WorkerCard, queue_name
from autotune.execute.fleet.settings import WorkerSettings
from autotune.power import restore_leftovers
from autotune.processes import die_with_parent
from autotune.store import Store
from autotune.store.jobs import Jobs
from autotune.store.patience import patiently
from autotune_workers.job import JobRunner, MakeSlot
from autotune_workers.presence import Presence

DATABASE_PATIENCE_SECONDS = 600.0
"""How long a worker waits for a database that is away: its result may have taken an hour."""

_log = logging.getLogger(__name__)


def make_card(settings: WorkerSettings) -> WorkerCard:
    """The worker's device, environment and database, as it announces them.

    Raises:
        InputError: There is no such device here, or a broken energy meter.
        StoreError: The database cannot be used.
    """
    device = detect(settings.device)
    restore_leftovers()  # a dead run's settings are not this machine's
    environment = describe_environment(device)
    with Store.open(settings.database) as store:
        database = store.identity()
    return WorkerCard(
        name=settings.name,
        host=socket.gethostname(),
        device=device,
        environment=environment,
        why_no_energy=energy_source(device)[1],
        database=database,
        queue=queue_name(database, environment[ENV_ID]),
        allows=settings.allows,
    )


def _leave_logs_alone(**_: object) -> None:
    """Celery sets none up where somebody listens to this signal."""


class WorkerProcess:
    """What the child process keeps between jobs; made after the fork, opened at the first job:
    nothing may wait for a database while Celery waits for the child."""

    def __init__(self, settings: WorkerSettings, card: WorkerCard, make_slot: MakeSlot) -> None:
        self._settings = settings
        self._device = card.device
        self._make_slot = make_slot
        self._broker = Broker(settings.broker)
        self._presence = Presence(self._broker, card)
        self._presence.start()
        self._store: Store | None = None
        self._runner: JobRunner | None = None

    def run(self, given: Any) -> None:
        """Carries out one message; one that is not ours is dropped, loudly."""
        try:
            message = RunJob.model_validate(given)
        except ValidationError as error:
            _log.error("a foreign or malformed message is dropped: %r: %s", given, error)
            return
        self._presence.works_on(message.job)
        try:
            with bound_contextvars(job=message.job, attempt=message.attempt):
                self._opened().run(message)
        finally:
            self._presence.works_on(None)

    def _opened(self) -> JobRunner:
        if self._runner is None:
            self._store = patiently(self._open_store, DATABASE_PATIENCE_SECONDS)
            self._runner = JobRunner(
                self._settings,
                self._device,
                Jobs(self._store),
                self._presence.tell,
                self._make_slot,
            )
        return self._runner

    def _open_store(self) -> Store:
        return Store.open(self._settings.database, patience_seconds=DATABASE_PATIENCE_SECONDS)

    def close(self) -> None:
        """Ends the bench sessions and takes the card away."""
        if self._runner is not None:
            self._runner.close()
        self._presence.stop()
        self._broker.close()
        if self._store is not None:
            self._store.close()


def make_worker(
    settings: WorkerSettings, card: WorkerCard, app: Celery, make_slot: MakeSlot
) -> Celery:
    """Registers the one task, and what happens around it.

    Args:
        settings: Of this worker.
        card: What it announces.
        app: From ``Broker.app``.
        make_slot: What carries its trials.
    """
    process: list[WorkerProcess] = []

    def begin(**_: object) -> None:
        # A killed worker takes its child along, and that its bench processes.
        if not die_with_parent(os.getppid()):
            os._exit(1)
        process.append(WorkerProcess(settings, card, make_slot))

    def end(**_: object) -> None:
        while process:
            process.pop().close()

    signals.setup_logging.connect(_leave_logs_alone, weak=False)
    signals.worker_process_init.connect(begin, weak=False)
    signals.worker_process_shutdown.connect(end, weak=False)

    def run_job(*given: Any) -> None:
        process[0].run(given[0] if len(given) == 1 else given)

    app.task(name=RUN_JOB)(run_job)
    return app

"""What travels through the broker: small, versioned, checked on arrival."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from autotune.device import Device
from autotune.message import Message
from autotune.messages import Progress
from autotune.trust import DATA_ONLY, Trust

PROTOCOL: Literal[5] = 5
"""Raised when these messages change: workers of another protocol listen on other queues."""

RUN_JOB = "autotune.run_job"
"""The one Celery task, known by name: the coordinator does not import the workers."""


class RunJob(Message):
    """A bell: there is a job. All else is in the database."""

    protocol: Literal[5] = PROTOCOL
    job: int = Field(gt=0)
    attempt: int = Field(gt=0)
    """The lease that may be taken; an older one is nobody's any more."""


class FleetEvent(Message):
    """What a worker tells whoever watches a study."""

    job: int
    worker: str
    progress: Progress | None = None
    """What it does now; null: the job is done, or was given back."""


class WorkerCard(Message):
    """A worker as it announces itself; it is alive as long as its card is there."""

    name: str
    host: str
    device: Device
    environment: dict[str, str]
    """What its numbers are taken on; see ``autotune.environment``."""
    why_no_energy: str = ""
    """Empty where something measures it."""
    database: str
    """Where it looks for jobs; see ``Store.identity``."""
    queue: str
    allows: Trust = DATA_ONLY
    """What models may do there besides being read as data."""
    job: int | None = None
    """What it works on; null while it waits."""


def queue_name(database: str, env_id: str) -> str:
    """The queue of all workers of one database whose numbers may be compared.

    Args:
        database: Its identity.
        env_id: Of the environment; it holds device, versions and settings.
    """
    return f"autotune.v{PROTOCOL}.{database[:8]}.{env_id}"

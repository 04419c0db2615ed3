"""What a worker is told when it starts, from the environment: URLs may hold passwords, and every
process list shows arguments."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from autotune.errors import InputError
from autotune.trust import DATA_ONLY, Trust

BROKER = "AUTOTUNE_BROKER_URL"
DATABASE = "AUTOTUNE_DATABASE_URL"
NAME = "AUTOTUNE_WORKER_NAME"
DEVICE = "AUTOTUNE_WORKER_DEVICE"
FOLDER = "AUTOTUNE_WORKER_DIRECTORY"
ALLOWS = "AUTOTUNE_WORKER_ALLOWS"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def _allowed(text: str) -> Trust:
    try:
        return Trust.model_validate_json(text)
    except ValidationError as error:
        raise InputError(
            f"{ALLOWS} is {text!r}; 'autotune worker' sets it from --trust-remote-code, "
            "--allow-pickle and --allow-power-changes"
        ) from error


@dataclass(frozen=True)
class WorkerSettings:
    """One worker: one device."""

    broker: str
    database: str
    name: str
    device: str
    """``auto``, ``cpu`` or ``cuda``."""
    directory: Path
    """Where its bench processes' logs go."""
    allows: Trust = DATA_ONLY
    """What models and plugins may do here besides reading data."""
    beat_seconds: float = 2.0
    """Between two signs of life of a job; well under the coordinator's lease."""

    def to_environment(self) -> dict[str, str]:
        """The variables that ``from_environment`` reads."""
        return {
            BROKER: self.broker,
            DATABASE: self.database,
            NAME: self.name,
            DEVICE: self.device,
            FOLDER: str(self.directory),
            ALLOWS: self.allows.model_dump_json(),
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> WorkerSettings:
        """Reads the variables.

        Raises:
            InputError: One that is needed is missing.
        """
        missing = [name for name in (BROKER, DATABASE, NAME) if not environment.get(name)]
        if missing:
            raise InputError(
                f"a worker needs {', '.join(missing)} in its environment; 'autotune worker' sets "
                "them from its options"
            )
        if not _NAME.fullmatch(environment[NAME]):
            raise InputError(
                f"no name for a worker: {environment[NAME]!r}; allowed: letters, digits, ., _, -"
            )
        return cls(
            broker=environment[BROKER],
            database=environment[DATABASE],
            name=environment[NAME],
            device=environment.get(DEVICE, "auto"),
            directory=Path(environment.get(FOLDER, "studies")),
            allows=_allowed(environment.get(ALLOWS, "{}")),
        )

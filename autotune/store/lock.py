"""The lock of the one process that runs a study."""

from __future__ import annotations

import math
import os
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, NullPool, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError, PendingRollbackError

from autotune.errors import InputError
from autotune.hashing import sha256_json
from autotune.store.database import explained, parse_url, sqlite_file
from autotune.store.patience import patiently

_KEEPALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""A coordinator whose machine vanished is let go by the server after half a minute."""

_OWN_KEEPALIVE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""And this end notices a server that vanished."""

_ASK_SECONDS = 0.1
"""Asked more often, the server is not asked again: trials may end in quicker succession."""

_GHOST_SECONDS = 45.0
"""How long the server may still hold the lock for our own broken connection."""


class StudyLock(Protocol):
    """Held by one process; let go by whatever ends it."""

    def acquire(self) -> None:
        """Takes it, at once or not at all.

        Raises:
            InputError: Another process has it.
        """

    def keep(self) -> None:
        """Makes sure that it is still held.

        Raises:
            InputError: It was lost, and another process has it now.
        """

    def release(self) -> None:
        """Lets go. Idempotent."""


def study_lock(url: str, name: str, patience_seconds: float = 0.0) -> StudyLock:
    """The lock of a study: a file beside an SQLite database's users, a server's advisory lock.

    Args:
        url: Of the database.
        name: Of the study.
        patience_seconds: How long ``keep`` waits for a server that is away.
    """
    parsed = parse_url(url)
    file = sqlite_file(parsed)
    if file is not None:
        return _FileStudyLock(os.path.realpath(file), name)
    return _ServerStudyLock(parsed, name, patience_seconds)


def is_run(url: str, name: str) -> bool:
    """Whether a process runs a study at the moment, wherever it is.

    Args:
        url: Of the database.
        name: Of the study.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return _ServerStudyLock(parsed, name, 0.0).is_held()
    lock = study_lock(url, name)
    try:
        lock.acquire()
    except InputError:
        return True
    lock.release()
    return False


def _taken(name: str) -> InputError:
    return InputError(f"another process is running the study {name!r}; wait for it or stop it")


class _FileStudyLock:
    def __init__(self, where: str, name: str) -> None:
        self._name = name
        file = f"autotune-{os.getuid()}-study-{sha256_json([where, name])[:16]}.lock"
        self._lock = FileLock(Path(tempfile.gettempdir()) / file)

    def acquire(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise _taken(self._name) from error

    def keep(self) -> None:
        """The kernel keeps it."""

    def release(self) -> None:
        self._lock.release()


class _ServerStudyLock:
    """PostgreSQL's advisory lock: it ends with the connection, however the process ends."""

    def __init__(self, url: URL, name: str, patience_seconds: float) -> None:
        self._url = url
        self._name = name
        self._patience_seconds = patience_seconds
        # The server's number for it: 63 bits of a hash.
        self._key = int(sha256_json(["autotune", name])[:16], 16) >> 1
        self._engine = create_engine(
            url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"connect_timeout": 10, "options": _KEEPALIVE, **_OWN_KEEPALIVE},
        )
        self._connection: Connection | None = None
        self._asked = -math.inf
        """When the server last answered."""

    def acquire(self) -> None:
        if not self._try():
            self.release()
            raise _taken(self._name)

    def _try(self) -> bool:
        self.release()
        with explained(self._url):
            self._connection = self._engine.connect()
            return bool(self._connection.scalar(select(func.pg_try_advisory_lock(self._key))))

    def keep(self) -> None:
        if self._answers():
            return
        deadline = None
        while not patiently(self._try, self._patience_seconds):
            deadline = deadline or time.monotonic() + _GHOST_SECONDS
            if time.monotonic() > deadline:
                self.release()
                raise _taken(self._name)
            time.sleep(1.0)

    def _answers(self) -> bool:
        """The lock is held exactly as long as this connection is."""
        if self._connection is None:
            return False
        if time.monotonic() - self._asked < _ASK_SECONDS:
            return True
        try:
            self._connection.scalar(select(1))
        except (DBAPIError, PendingRollbackError):  # the latter after a Ctrl-C in mid-question
            return False
        self._asked = time.monotonic()
        return True

    def is_held(self) -> bool:
        """Whether anybody has it; asks the server's list, and takes nothing."""
        here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
        query = text(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
            f"AND database = {here} AND objsubid = 1 AND classid = :high AND objid = :low"
        )
        halves = {"high": self._key >> 32, "low": self._key & 0xFFFFFFFF}
        with explained(self._url), self._engine.connect() as connection:
            return bool(connection.scalar(query, halves))

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with closing(connection), suppress(DBAPIError, PendingRollbackError):
            # Closing alone ends it too, but only when the server comes to notice. A connection
            # that is lost has nothing to let go, and would be made anew to say so.
            if not connection.invalidated:
                connection.scalar(select(func.pg_advisory_unlock_all()))

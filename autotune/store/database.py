"""Connections: the URL, the SQLite settings, and database errors in words."""

from __future__ import annotations

import json
import math
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    Insert,
    Table,
    Text,
    bindparam,
    cast,
    column,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    OperationalError,
)
from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from autotune.errors import StoreError, StoreUnreachable

ALLOWED = "sqlite:///file.db or postgresql://user@host/database"
_WRITE = "autotune_write"
_USED = "autotune_used"
_IDLE_SECONDS = 1.0

_LASTING = ("password authentication failed", "does not exist", "no password supplied")
"""Parts of what PostgreSQL says when waiting will not help."""

_SQLITE_WORDS = {
    "locked": "is locked by another process; stop that process, or wait for it and try again",
    "not a database": "is not an SQLite database; use another --database",
    "malformed": "is damaged; restore a copy, or use another --database",
    "readonly": "is read-only; change its permissions, or use another --database",
    "unable to open": "cannot be opened or created: its directory is read-only or is none; "
    "use another --database",
    "is full": "cannot grow: the disk is full; free some space and resume the study",
}


def parse_url(text: str) -> URL:
    """Reads a database URL; ``postgresql://`` means the psycopg driver.

    Raises:
        StoreError: It is no URL, or names a kind of database that autotune does not use.
    """
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise StoreError(f"not a database URL: {text!r}; allowed: {ALLOWED}") from error
    if url.drivername in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite", "postgresql+psycopg"):
        raise StoreError(f"no database driver named {url.drivername!r}; allowed: {ALLOWED}")
    if url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:"):
        raise StoreError(f"{text!r} names no file, and nothing would be kept; allowed: {ALLOWED}")
    return url


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite URL; None for a server."""
    return Path(str(url.database)) if url.get_backend_name() == "sqlite" else None


def words(url: URL) -> str:
    """A database's name for a person, without its password."""
    file = sqlite_file(url)
    return str(file) if file else url.render_as_string(hide_password=True)


def connect(url: URL, busy_timeout_seconds: float) -> Engine:
    """Makes an engine; nothing is opened yet.

    Raises:
        StoreError: The driver's package is missing.
    """
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": busy_timeout_seconds})
        event.listen(engine, "connect", lambda c, _: _set_up_sqlite(c, busy_timeout_seconds))
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(url, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError as error:
        raise StoreError(
            f"{words(url)} needs the package {error.name!r}: pip install 'psycopg[binary]'"
        ) from error
    ping_when_idle(engine)
    return engine


def ping_when_idle(engine: Engine) -> None:
    """Tries a connection that was not used for a while, and opens another if it is broken.

    To try every time would double the questions of a short transaction; a connection that breaks
    between two of them is noticed by the second, which is then repeated (``store/patience.py``).
    """

    @event.listens_for(engine, "checkin")
    def note(_connection: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_USED, math.inf) < _IDLE_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError(str(error)) from error


def for_writing(engine: Engine) -> Engine:
    """The same engine, whose transactions take SQLite's write lock at once.

    A transaction that reads first and writes later fails at once, without waiting, when another
    process has written in between.
    """
    return engine.execution_options(**{_WRITE: True})


def insert_into(dialect: str, table: Any) -> sqlite.Insert | postgresql.Insert:
    """An insert that knows ``on_conflict_do_nothing``: both databases have it, each its own."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def add_rows(
    session: Session, table: Table, rows: Sequence[Mapping[str, Any]], *, keep: bool = False
) -> None:
    """Adds rows in one statement, and makes no object for each of them.

    Args:
        session: An open session.
        table: Where they go.
        rows: All with the same columns, of plain values and enums; none are fine.
        keep: Whether a row that is there already stays; else it is an error.
    """
    if not rows:
        return
    dialect = session.get_bind().dialect.name
    insert = _new_rows(dialect, table, tuple(rows[0]), keep)
    if dialect == "postgresql":
        session.execute(insert, {"rows": json.dumps(rows, default=_enum_name, allow_nan=False)})
    else:
        session.execute(insert, rows)


@cache
def _new_rows(dialect: str, table: Table, names: tuple[str, ...], keep: bool) -> Insert:
    insert = insert_into(dialect, table)
    if dialect == "postgresql":
        # As one value: the driver would send each row by itself, and every value is a param.
        columns = [column(name, table.c[name].type) for name in names]
        given = func.json_to_recordset(cast(bindparam("rows", type_=Text), postgresql.JSON))
        source = given.table_valued(*columns).render_derived(with_types=True)
        insert = insert.from_select(names, select(*source.c))
    return insert.on_conflict_do_nothing() if keep else insert


def _enum_name(value: object) -> str:
    """As SQLAlchemy keeps them."""
    if isinstance(value, Enum):
        return value.name
    raise TypeError(f"no plain value: {value!r}")


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turns database errors into StoreError; broken uniqueness is left to the caller.

    Raises:
        StoreUnreachable: A server does not answer, or broke off.
        StoreError: Any other error of the database or its driver.
    """
    try:
        yield
    except IntegrityError:
        raise
    except (DBAPIError, sqlite3.Error) as error:
        kind = StoreUnreachable if _is_away(url, error) else StoreError
        raise kind(_explanation(url, error)) from error


def _is_away(url: URL, error: Exception) -> bool:
    """Whether it may answer again soon; a refused password will be refused again."""
    if url.get_backend_name() == "sqlite":
        return _is_locked(error)
    if not isinstance(error, DBAPIError):
        return False
    refused = any(part in str(error.orig) for part in _LASTING)
    return (isinstance(error, OperationalError) or error.connection_invalidated) and not refused


def _is_locked(error: BaseException) -> bool:
    """Whether SQLite says that another process writes."""
    return "locked" in str(error)


def _explanation(url: URL, error: Exception) -> str:
    cause = " ".join(str(getattr(error, "orig", None) or error).split())
    if url.get_backend_name() == "sqlite":
        for part, meaning in _SQLITE_WORDS.items():
            if part in cause:
                return f"database {words(url)} {meaning}"
        return f"database {words(url)} cannot be used: {cause}"
    return (
        f"database {words(url)} is unreachable or refuses: {cause}; "
        "check that the server runs and that --database is right"
    )


def _set_up_sqlite(connection: sqlite3.Connection, busy_timeout_seconds: float) -> None:
    try:
        # The driver's own idea of when to begin would undo _begin_sqlite.
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")
        # Beside one who writes SQLite refuses this at once, whatever the time limit.
        attempts = Retrying(
            retry=retry_if_exception(_is_locked),
            stop=stop_after_delay(busy_timeout_seconds),
            wait=wait_fixed(0.02),
            reraise=True,
        )
        attempts(_write_ahead, connection)
        connection.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.Error:
        connection.close()
        raise


def _write_ahead(connection: sqlite3.Connection) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode=WAL")


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get(_WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

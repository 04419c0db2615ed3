"""Who may run a study, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from autotune.errors import InputError
from autotune.store.lock import study_lock
from fleet_support.servers import PostgresServer


def test_second_one_is_refused_until_the_first_lets_go(database: str) -> None:
    first, second = study_lock(database, "s"), study_lock(database, "s")
    first.acquire()
    with pytest.raises(InputError, match="another process is running the study 's'"):
        second.acquire()
    study_lock(database, "other").acquire()
    first.keep()
    first.release()
    second.acquire()
    second.release()


def test_same_file_is_the_same_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = study_lock(f"sqlite:///{tmp_path}/runs/a.db", "s")
    first.acquire()
    with pytest.raises(InputError):
        study_lock("sqlite:///./runs/../runs/a.db", "s").acquire()
    study_lock("sqlite:///runs/b.db", "s").acquire()
    first.release()


def cut(server: PostgresServer, database: str) -> None:
    """Ends every connection to a database, as a restart of the server would."""
    ask = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(ask, [database.rpartition("/")[2]])


def test_lock_is_taken_again_after_the_connection_broke(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    lock = study_lock(database, "s", patience_seconds=10)
    lock.acquire()
    cut(postgres, database)
    lock.keep()
    with pytest.raises(InputError):
        study_lock(database, "s").acquire()
    lock.release()


def test_lock_is_taken_again_after_a_question_was_interrupted(postgres: PostgresServer) -> None:
    database = postgres.new_database()
    lock = study_lock(database, "s", patience_seconds=10)
    lock.acquire()
    lock._connection.invalidate()  # what SQLAlchemy does when Ctrl-C breaks a question off
    lock.keep()
    with pytest.raises(InputError):
        study_lock(database, "s").acquire()
    lock.release()


def test_lock_that_another_one_has_now_is_lost(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune.store.lock._GHOST_SECONDS", 0.5)
    database = postgres.new_database()
    first, second = study_lock(database, "s"), study_lock(database, "s")
    first.acquire()
    cut(postgres, database)
    second.acquire()
    with pytest.raises(InputError, match="another process is running"):
        first.keep()
    second.release()

"""Databases that cannot be used, each explained; migrations; other processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import optuna
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, select
from sqlalchemy.exc import IntegrityError

from autotune.errors import InputError, StoreError
from autotune.messages import Measurement, TrialResult
from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store, TrialState
from autotune.store.database import add_rows
from autotune.store.migrate import VERSION_TABLE
from autotune.store.tables import TABLE_PREFIX, Base, MeasurementRow, plain

CHILD = """
import os, sys
from autotune.messages import Measurement, TrialResult
from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store

store = Store.open(sys.argv[1])
"""

START_AND_HANG = """
store.start_trial("first", 0, {}, RecipeKeys("o", "s", "r"))
print("started", flush=True)
sys.stdin.read()
"""

FINISH = """
metrics = {"ttft_seconds": Measurement(value=float(os.getpid()), unit="s")}
result = TrialResult(number=0, outcome=Outcome.OK, metrics=metrics)
sys.stdin.readline()
print(store.finish_trial("first", result), flush=True)
"""


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def child(code: str, url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD + code, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = url_of(tmp_path / "autotune.db")
    with Store.open(url) as store:
        store.create_study("first", {}, [], [], {})
    return url


def test_new_database_is_opened_while_another_connection_writes(tmp_path: Path) -> None:
    """It does not write ahead yet, and cannot be made to before the other is done."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE theirs (x)")
    other.execute("BEGIN IMMEDIATE")
    done = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    done.start()
    with Store.open(url_of(path)) as store:
        assert store.studies() == []
        done.join()
        assert other.execute("SELECT count(*) FROM theirs").fetchone() == (0,)
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_killed_process_leaves_a_readable_store(url: str) -> None:
    with child(START_AND_HANG, url) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        os.kill(process.pid, signal.SIGKILL)
    with Store.open_existing(url) as store:
        (trial,) = store.trials("first")
    assert (trial.state, trial.attempts, trial.result) == (TrialState.RUNNING, 1, None)


def test_two_processes_finish_one_trial_once(url: str) -> None:
    with child(START_AND_HANG, url) as process:
        process.communicate()
    both = [child(FINISH, url) for _ in range(2)]
    for process in both:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = {process.pid: process.communicate()[0].strip() for process in both}
    assert sorted(answers.values()) == ["False", "True"]
    with Store.open(url) as store:
        result = store.trial("first", 0).result
    assert result is not None
    (winner,) = [pid for pid, answer in answers.items() if answer == "True"]
    assert result.metrics["ttft_seconds"].value == winner


def test_open_at_once_in_many_processes_makes_one_schema(tmp_path: Path) -> None:
    new = url_of(tmp_path / "new.db")
    processes = [child("print(store.studies())", new) for _ in range(4)]
    assert [process.communicate()[0] for process in processes] == ["[]\n"] * 4


def test_open_refuses_an_unknown_revision(url: str, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    connection.close()
    with pytest.raises(StoreError, match=r"'9999'.*knows 0001.*upgrade autotune or use another"):
        Store.open(url)


def test_write_to_a_locked_database_says_so(url: str, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "autotune.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Store.open(url, busy_timeout_seconds=0.05) as store:
        assert store.study("first").name == "first", "reading goes on"
        with pytest.raises(StoreError, match="locked by another process"):
            store.update_study("first", convergence_reason="budget")
    other.close()


def test_open_garbage_says_that_it_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("no database at all " * 100)
    for opener in (Store.open, Store.open_existing):
        with pytest.raises(StoreError, match=r"notes\.txt is not an SQLite database"):
            opener(url_of(file))


def test_open_where_no_file_can_be_says_why(tmp_path: Path) -> None:
    blocked = tmp_path / "autotune.db"
    blocked.mkdir()
    with pytest.raises(StoreError, match="cannot be opened or created"):
        Store.open(url_of(blocked))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to every directory")
def test_open_in_a_read_only_directory_says_why(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(StoreError, match="read-only"):
            Store.open(url_of(tmp_path / "autotune.db"))
    finally:
        tmp_path.chmod(0o700)


def test_open_without_the_directory_says_so(tmp_path: Path) -> None:
    under_a_file = tmp_path / "file"
    under_a_file.touch()
    for parent in (tmp_path / "missing", under_a_file):
        with pytest.raises(StoreError, match="no directory"):
            Store.open(url_of(parent / "autotune.db"))


def test_open_existing_never_makes_a_file(tmp_path: Path) -> None:
    file = tmp_path / "autotune.db"
    with pytest.raises(InputError, match=r"no database .*autotune\.db; 'autotune search'"):
        Store.open_existing(url_of(file))
    assert not file.exists()


def test_open_existing_refuses_a_database_of_others(tmp_path: Path) -> None:
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE studies (id INTEGER)")
    connection.close()
    with pytest.raises(InputError, match="no studies of autotune"):
        Store.open_existing(url_of(file))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://host/db", "no database driver named 'mysql'; allowed: sqlite"),
        ("sqlite://", "'sqlite://' names no file, and nothing would be kept; allowed: sqlite"),
        ("sqlite:///:memory:", ":memory:' names no file, and nothing would be kept"),
        ("results.db", "not a database URL"),
    ],
)
def test_open_refuses_other_kinds_of_database(url: str, words: str) -> None:
    with pytest.raises(StoreError, match=words):
        Store.open(url)


def test_open_postgresql_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(
        StoreError, match=r"db needs the package .*pip install 'psycopg\[binary\]'"
    ):
        Store.open("postgresql://user:secret@host/db")


def test_open_never_prints_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError) as caught:
        Store.open("postgresql://user:secret@host/db")
    assert "secret" not in str(caught.value)


def _is_ours(name: str | None, kind: str, _parents: object) -> bool:
    return kind != "table" or str(name).startswith(TABLE_PREFIX)


def test_migrations_equal_the_models(url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"version_table": VERSION_TABLE, "include_name": _is_ours}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_result_from_before_fallbacks_were_looked_for_has_none(url: str, tmp_path: Path) -> None:
    with Store.open(url) as store:
        store.start_trial("first", 0, {}, RecipeKeys("o", "s", "r"))
        store.finish_trial("first", TrialResult(number=0, outcome=Outcome.OK))
    with sqlite3.connect(tmp_path / "autotune.db") as connection:
        connection.execute("UPDATE autotune_trials SET fallbacks = NULL")
    connection.close()
    with Store.open(url) as store:
        result = store.trial("first", 0).result
    assert result is not None
    assert result.fallbacks == ()


def test_optuna_shares_the_database(url: str) -> None:
    storage = optuna.storages.RDBStorage(url)
    optuna.create_study(storage=storage, study_name="first")
    storage.remove_session()
    storage.engine.dispose()
    with Store.open(url) as store:
        assert [study.name for study in store.studies()] == ["first"]
    test_migrations_equal_the_models(url)


def test_measurement_table_has_every_field_of_the_message() -> None:
    columns = {column.name for column in MeasurementRow.__table__.columns}
    assert columns - {"id", "trial_id", "metric"} == set(Measurement.model_fields)


def test_rows_are_added_all_at_once_or_not_at_all(database: str) -> None:
    table = plain(MeasurementRow)

    def row(trial: int, metric: str, value: float | None) -> dict[str, Any]:
        texts = {"unit": "s", "stat": "mean", "source": 'it\'s \\ a "clock"', "reason": ""}
        numbers = {"value": value, "n": 3, "converged": True}
        return {"trial_id": trial, "metric": metric, **texts, **numbers}

    with Store.open(database) as store:
        store.create_study("first", {}, ["ttft_seconds"], [], {})
        store.start_trial("first", 0, {}, RecipeKeys("o", "s", "r"))

        def add(*rows: dict[str, Any], keep: bool = False) -> None:
            store.write(lambda session: add_rows(session, table, rows, keep=keep))

        def kept() -> dict[str, float | None]:
            names = table.c.metric, table.c.value
            found = store.write(lambda session: session.execute(select(*names)).all())
            return {metric: value for metric, value in found}

        add()
        add(row(1, "a", 0.1 + 0.2), row(1, "b", None))
        assert kept() == {"a": 0.1 + 0.2, "b": None}
        with pytest.raises(IntegrityError):
            add(row(1, "c", 1.0), row(1, "a", 1.0))
        assert kept().keys() == {"a", "b"}
        add(row(1, "c", 1.0), row(1, "a", 1.0), keep=True)
        assert kept() == {"a": 0.1 + 0.2, "b": None, "c": 1.0}

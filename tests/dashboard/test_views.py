"""When a study is looked at again."""

from __future__ import annotations

import json
from pathlib import Path

from optuna.storages import get_storage

from autotune.dashboard.app import make_app
from autotune.dashboard.view import StudyView
from autotune.dashboard.views import Views
from autotune.errors import StoreError
from autotune.search.storage import open_storage
from autotune.store.database import parse_url
from autotune.store.lock import study_lock
from autotune.store.records import StudyState
from autotune.store.state import DEAD
from autotune.store.store import Store
from laboratory import Lab


def test_a_study_is_computed_again_only_after_a_rest_and_if_it_changed(sqlite_lab: Lab) -> None:
    now = [0.0]
    with Store.open(sqlite_lab.url) as store:
        views = Views(store, sqlite_lab.url, lambda: now[0])
        first = views.find("first")
        assert first is not None
        now[0] = 1000.0
        assert views.find("first") is first
        store.update_study("first", notes=["new"])
        found = views.find("first")
        assert found is not first
        store.update_study("first", notes=["newer"])
        assert views.find("first") is found  # it was just looked at
        now[0] += 10.0
        latest = views.find("first")
        assert latest is not None
        assert latest.summary.study.notes == ("newer",)
        assert views.find("nobody") is None


def test_a_search_that_was_killed_is_not_told_as_running(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    lab.search(lab.plan(budget={"trials": 3}))
    with Store.open(lab.url) as store:
        store.update_study("first", state=StudyState.RUNNING)
        lock = study_lock(lab.url, "first")
        now = [0.0]
        views = Views(store, lab.url, lambda: now[0])
        lock.acquire()
        running = views.find("first")
        lock.release()
        now[0] = 1000.0
        dead = views.find("first")
    assert running is not None
    assert dead is not None
    assert "The study is running." in running.note
    assert f"The study is {DEAD}." in dead.note


class _Away(Views):
    def find(self, name: str) -> StudyView | None:
        raise StoreError(f"the database of {name} is away")


def test_database_that_is_away_is_said_to_the_page(sqlite_lab: Lab) -> None:
    said = []
    storage = get_storage(open_storage(parse_url(sqlite_lab.url)))
    with Store.open(sqlite_lab.url) as store:
        app = make_app(storage, _Away(store, sqlite_lab.url), sqlite_lab.folder, None)
        asked = {"PATH_INFO": "/api/studies/1", "REQUEST_METHOD": "GET", "QUERY_STRING": ""}
        body = b"".join(app.wsgi(asked, lambda status, _headers, _info=None: said.append(status)))
    assert said == ["503 Service Unavailable"]
    assert json.loads(body)["reason"] == "the database of first is away"

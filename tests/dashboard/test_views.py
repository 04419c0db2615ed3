"""When a study is looked at again."""

from __future__ import annotations

from pathlib import Path

from autotune.dashboard.views import Views
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

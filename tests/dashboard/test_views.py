"""When a study is looked at again."""

from __future__ import annotations

from autotune.dashboard.views import Views
from autotune.store.store import Store
from laboratory import Lab


def test_a_study_is_computed_again_only_after_a_rest_and_if_it_changed(sqlite_lab: Lab) -> None:
    now = [0.0]
    with Store.open(sqlite_lab.url) as store:
        views = Views(store, lambda: now[0])
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

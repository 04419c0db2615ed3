"""The places where optuna-dashboard is changed."""

from __future__ import annotations

import threading
from typing import Any

import bottle
import optuna
import pytest
from optuna_dashboard import _app
from optuna_dashboard._pareto_front import get_pareto_front_trials

from autotune.dashboard import adapt
from autotune.errors import InputError


def trials() -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(directions=["minimize"] * 3)
    rows = [(1, 2, 3), (2, 1, 3), (3, 3, 3)]
    study.add_trials([optuna.create_trial(values=[float(v) for v in row]) for row in rows])
    return study.trials


def asked(found: list[optuna.trial.FrozenTrial]) -> list[int]:
    """The front, as the application's own code asks for it."""
    front: Any = _app.get_pareto_front_trials
    directions = [optuna.study.StudyDirection.MINIMIZE] * 3
    return [trial.number for trial in front(trials=found, directions=directions)]


def test_known_front_is_looked_up_and_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def original(**given: Any) -> list[Any]:
        calls.append(given)
        return get_pareto_front_trials(**given)

    monkeypatch.setattr(_app, "get_pareto_front_trials", original)
    adapt.replace_front()
    adapt.replace_front()  # for each application once more
    found = trials()
    with adapt.known_front([2]):
        assert asked(found) == [2]
        assert calls == []
        other = threading.Thread(target=lambda: calls.append(asked(found)))
        other.start()
        other.join()
    assert calls.pop() == [0, 1]  # another request at the same time is about another study
    assert asked(found) == [0, 1]
    assert len(calls) == 2


def test_application_of_an_unknown_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"the route GET /api/x is not there.*0\.21"):
        adapt.wrap(bottle.Bottle(), "GET", "/api/x", lambda original: original())
    monkeypatch.delattr(_app, "get_pareto_front_trials")
    with pytest.raises(InputError, match=r"cannot be adapted: the function get_pareto_front"):
        adapt.replace_front()

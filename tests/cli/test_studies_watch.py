"""Watching a study from another terminal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.messages import Progress
from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store, StudyState
from autotune.store.lock import study_lock
from autotune.store.watch import Watch
from autotune.testing import fake_result, fake_spec

RunMain = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "studies").mkdir()
    made = Store.open(f"sqlite:///{tmp_path}/studies/autotune.db")
    made.create_study("s", {}, ["weights_bytes"], [], {})
    made.start_trial("s", 0, {}, RecipeKeys("o", "s", "r"))
    Watch(made).say("s", Progress(number=0, phase="measure", detail="pair 2"))
    return made


def test_watch_of_a_study_whose_process_died_says_so(run_main: RunMain, store: Store) -> None:
    store.close()
    lines = run_main("studies", "s", "--watch")[1].splitlines()
    assert lines[:3] == ["study running", "#0 baseline: running", "#0 is being measured (pair 2)"]
    assert "nobody runs this study" in lines[3]


def test_a_study_whose_process_died_is_called_dead(run_main: RunMain, store: Store) -> None:
    store.close()
    assert "dead" in run_main("studies")[1]
    code, _, error = run_main("pareto", "s")
    assert code == 2
    assert "no measured trial yet; it is dead: its process ended without a word" in error


def test_watch_ends_with_the_study(run_main: RunMain, store: Store) -> None:
    store.finish_trial("s", fake_result(fake_spec(0), Outcome.CRASHED))
    store.update_study("s", state=StudyState.FINISHED, convergence_reason="budget: 1 trials")
    store.close()
    _, shown, _ = run_main("studies", "s", "--watch", "--json")
    kinds = [json.loads(line)["kind"] for line in shown.splitlines()]
    assert kinds == ["state", "trial"]
    assert run_main("studies", "--watch")[0] == 2
    assert "no study named 'other'" in run_main("studies", "other")[2]


def test_search_of_a_study_that_runs_is_shown_how_to_watch(
    run_main: RunMain, store: Store, tiny_model: Path
) -> None:
    store.close()
    lock = study_lock(f"sqlite:///{Path.cwd()}/studies/autotune.db", "s")
    lock.acquire()
    code, _, error = run_main("search", "--model", str(tiny_model), "--name", "s")
    lock.release()
    assert code == 2
    assert "another process is running it; see it with: autotune studies s --watch" in error
    assert "autotune search --resume" in run_main("search", "--model", "demo", "--name", "s")[2]

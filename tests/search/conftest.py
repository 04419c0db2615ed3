"""Laboratories on database files of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from autotune.messages import TrialSpec
from autotune.outcome import Outcome
from autotune.search.pool_code import PoolCode
from autotune.store.store import Store
from autotune.testing import fake_result
from laboratory import Lab, Run

MakeLab = Callable[[], Lab]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once: the tables of autotune and of Optuna take a moment."""
    file = tmp_path_factory.mktemp("database") / "empty.db"
    Store.open(f"sqlite:///{file}").close()
    storage = optuna.storages.RDBStorage(f"sqlite:///{file}")
    storage.remove_session()
    storage.engine.dispose()
    return file


@pytest.fixture(scope="session")
def make_lab(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> MakeLab:
    def make() -> Lab:
        lab = Lab(tmp_path_factory.mktemp("lab"))
        shutil.copy(empty_database, lab.file)
        return lab

    return make


@pytest.fixture
def lab(make_lab: MakeLab) -> Lab:
    return make_lab()


@pytest.fixture
def code_of(lab: Lab) -> Callable[..., PoolCode]:
    """The code of a plan's whole pool."""

    def build(*plugins: str) -> PoolCode:
        plan = lab.plan(*plugins)
        return PoolCode(plan.pool.recipes, plan.registry.plugins)

    return build


@pytest.fixture
def failing(lab: Lab) -> Callable[..., Run]:
    """Fails some recipes' trials, measures the rest."""

    def build(fails: Callable[[TrialSpec], bool], outcome: Outcome) -> Run:
        return lambda s: fake_result(s, outcome) if fails(s) else lab.measure(s)

    return build

"""Real services in processes of their own, asked through real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service_support.service import Service

MakeService = Callable[..., Service]


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[MakeService]:
    made: list[Service] = []

    def make(*options: str, database: str = "") -> Service:
        made.append(Service(tmp_path, database or f"sqlite:///{tmp_path}/a.db", *options))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One that answers everything and measures nothing: its model cannot be found."""
    folder = tmp_path_factory.mktemp("service")
    limits = ("--requests-per-second", "1e6", "--burst", "1000000", "--max-body-bytes", "20000")
    made = Service(folder, f"sqlite:///{folder}/a.db", "--model", "absent=nobody/nothing", *limits)
    yield made
    made.close()

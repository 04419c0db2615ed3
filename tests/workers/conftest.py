"""A real Redis, a real PostgreSQL, and real workers; only the device is quick."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet_support.fleet import Fleet
from fleet_support.servers import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with RedisServer(folder, password="hush") as server:
        yield server


@pytest.fixture
def make_fleet(
    tmp_path: Path, redis: RedisServer, study: Callable[..., Path]
) -> Iterator[Callable[[str], Fleet]]:
    """Makes a fleet on the database of that URL."""
    made: list[Fleet] = []
    path = study(plugins={"batch": {}, "precision": {"dtype": ["bfloat16"]}})

    def make(database: str) -> Fleet:
        made.append(Fleet(tmp_path, redis, database, path))
        return made[-1]

    yield make
    for fleet in made:
        fleet.close()


@pytest.fixture
def fleet(make_fleet: Callable[[str], Fleet], database: str) -> Fleet:
    return make_fleet(database)

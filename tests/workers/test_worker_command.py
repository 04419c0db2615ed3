"""The options of ``autotune worker``, and what a worker needs in its environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.cli.worker import parse_cores
from autotune.errors import InputError
from autotune.execute.fleet.settings import WorkerSettings
from autotune.trust import Trust


def test_cores_as_the_kernel_writes_them() -> None:
    own = sorted(os.sched_getaffinity(0))
    assert parse_cores(str(own[0])) == {own[0]}
    assert parse_cores(",".join(map(str, own))) == set(own)


@pytest.mark.parametrize("text", ["", "a", "3-", "9999", "1,,2"])
def test_cores_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--cores"):
        parse_cores(text)


def test_worker_without_a_broker_is_refused(
    autotune: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOTUNE_BROKER_URL", raising=False)
    done = autotune("worker")
    assert done.returncode == 2
    assert "no broker: give --broker redis://host" in done.stderr


def test_settings_travel_through_the_environment() -> None:
    given = WorkerSettings(
        broker="redis://host",
        database="sqlite://",
        name="one",
        device="cpu",
        directory=Path("studies"),
        allows=Trust(allow_pickle=True),
    )
    found = given.to_environment()
    assert WorkerSettings.from_environment(found) == given
    with pytest.raises(InputError, match="AUTOTUNE_WORKER_ALLOWS is 'all'"):
        WorkerSettings.from_environment({**found, "AUTOTUNE_WORKER_ALLOWS": "all"})


def test_settings_name_what_is_missing() -> None:
    with pytest.raises(InputError, match=r"needs AUTOTUNE_DATABASE_URL, AUTOTUNE_WORKER_NAME"):
        WorkerSettings.from_environment({"AUTOTUNE_BROKER_URL": "redis://host"})

"""What trials run on: here, and on workers."""

from __future__ import annotations

import pytest

from autotune.device import detect
from autotune.environment import ENV_ID, describe_environment
from autotune.errors import InputError
from autotune.execute.fleet.messages import WorkerCard
from autotune.search.target import Target
from autotune.testing import fake_device


def card(name: str, source: str = "", why: str = "") -> WorkerCard:
    environment = {"torch": "2.11.0+cu130", "energy_source": source or "none", ENV_ID: "e"}
    return WorkerCard(
        name=name,
        host="h",
        device=fake_device("cuda"),
        environment=environment,
        why_no_energy=why,
        database="d",
        queue="q",
    )


def test_here_is_this_machine() -> None:
    found = Target.here("cpu")
    assert found.device == detect("cpu")
    assert found.environment == describe_environment(found.device)
    source, why = found.energy(None)
    assert bool(source) != bool(why)
    with pytest.raises(InputError, match="unknown device 'tpu'"):
        Target.here("tpu")


def test_workers_tell_their_device_environment_and_energy() -> None:
    found = Target.of([card("one", "measured:counter:nvml"), card("two", "measured:counter:nvml")])
    assert found.device.name == "NVIDIA H200"
    assert found.environment["torch"] == "2.11.0+cu130"
    assert found.energy(None) == ("measured:counter:nvml", "")
    assert Target.of([card("one", why="no counter")]).energy(None) == ("", "no counter")


def test_estimate_is_for_cpus_that_have_nothing_better() -> None:
    cpu = Target(fake_device("cpu"), {"energy_source": "none"}, "no counter")
    assert cpu.energy(None) == ("", "no counter")
    assert cpu.energy(7.5) == ("estimated:cpu_time", "")
    measured = Target(fake_device("cpu"), {"energy_source": "measured:counter:rapl"}, "")
    assert measured.energy(7.5) == ("measured:counter:rapl", "")
    assert Target(fake_device("cuda"), {"energy_source": "none"}, "x").energy(7.5) == ("", "x")

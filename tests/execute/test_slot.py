"""A slot's trials that end before any bench process is started."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autotune.execute import slot, warm
from autotune.execute.slot import DeviceSlot
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.params import Choice, Params, Stage
from autotune.plugin import Plugin
from autotune.registry import Registry
from autotune.testing import fake_device, fake_spec


class Quiet(Plugin):
    """Sets a variable."""

    name = "quiet"
    params: ClassVar = {"level": Choice(0, 1, default=0, stage=Stage.SETUP)}

    def env(self, params: Params) -> dict[str, str]:
        return {"LEVEL": str(params["level"])}


class Raising(Quiet):
    """Cannot say what its variables are."""

    name = "raising"

    def env(self, params: Params) -> dict[str, str]:
        raise KeyError("HOME")


class Shapeless(Quiet):
    """Forgets its answer."""

    name = "shapeless"

    def env(self, params: Params) -> dict[str, str]:
        return None  # type: ignore[return-value]


class Loud(Quiet):
    """Sets the same variable to something else."""

    name = "loud"

    def env(self, params: Params) -> dict[str, str]:
        return {"LEVEL": "11"}


PLUGINS: dict[str, Plugin] = {p.name: p for p in (Quiet(), Raising(), Shapeless(), Loud())}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Runs the recipe that switches these plugins on; a bench process would be an error."""

    def start(*_: object) -> None:
        raise AssertionError("a bench process was started")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a device lock of its own
    monkeypatch.setattr(warm, "BenchSession", start)
    told: list[Progress] = []
    device_slot = DeviceSlot(Registry(PLUGINS), told.append)

    def measure(*names: str) -> TrialResult:
        spec: TrialSpec = fake_spec(7, {name: {"level": 1} for name in names})
        found = device_slot.run(spec.model_copy(update={"directory": str(tmp_path)}))
        assert [p.phase for p in told] == ["lock", "prepare"]
        assert (found.number, found.metrics, found.blocks) == (7, {}, ())
        assert device_slot.warm_setup() is None
        return found

    yield measure
    device_slot.close()


@pytest.mark.parametrize(("name", "error"), [("raising", "KeyError"), ("shapeless", "Attribute")])
def test_env_that_raises_is_a_crashed_trial(run: Any, name: str, error: str) -> None:
    found = run("quiet", name)
    assert found.outcome is Outcome.CRASHED
    words = f"plugin {name!r} raised in env({{'level': 1}}): {error}"
    assert found.explanation.startswith(words)


def test_plugin_that_is_not_installed_is_an_unsupported_trial(run: Any) -> None:
    found = run("quiet", "gone", "lost")
    assert found.outcome is Outcome.UNSUPPORTED
    assert found.explanation == "plugins not installed here: gone, lost"


def test_two_plugins_that_set_one_variable_are_an_unsupported_trial(run: Any) -> None:
    found = run("quiet", "loud")
    assert found.outcome is Outcome.UNSUPPORTED
    assert "'quiet' and 'loud' both set environment variable 'LEVEL'" in found.explanation


def test_lock_is_free_after_a_failed_trial(run: Any) -> None:
    run("raising")
    (lock,) = slot.device_locks(fake_spec().device)
    lock.acquire(timeout=0)
    lock.release()


def test_trial_of_several_gpus_waits_for_each_of_them_in_one_order() -> None:
    gpus = {"uuid": "GPU-b", "count": 2, "peers": ("GPU-a", "GPU-b")}
    device = fake_device("cuda").model_copy(update=gpus)
    names = [Path(lock.lock_file).name for lock in slot.device_locks(device.with_gpus(2))]
    assert [name.rpartition("device-")[2] for name in names] == ["GPU-a.lock", "GPU-b.lock"]

    phases: list[str] = []
    mine = slot.DeviceSlot(
        Registry({}, {}), lambda told: phases.append(f"{told.phase} {told.detail}")
    )
    spec = fake_spec(1, {"gone": {"x": 1}}).model_copy(update={"device": device, "gpus": 2})
    (other,) = slot.device_locks(device.model_copy(update={"uuid": "GPU-a"}))
    with ThreadPoolExecutor(1) as pool:
        with other.acquire(timeout=0):
            running = pool.submit(mine.run, spec)
            with pytest.raises(TimeoutError):
                running.result(timeout=1.5)
        found = running.result(timeout=30)
    assert found.outcome is Outcome.UNSUPPORTED, "it had them, and has no such plugin"
    told = [phase for phase in phases if phase.startswith("lock another process measures: ")]
    assert len(told) == 1, "said once"
    assert told[0].endswith(f"holds {other.lock_file}")
    mine.close()

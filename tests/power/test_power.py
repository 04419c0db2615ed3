"""Real guardians and real kills; the GPU's driver is one of ours, the CPUs a folder."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from autotune.errors import BenchError
from autotune.plugin import Unsupported
from autotune.power import PowerHold, restore_leftovers
from autotune.power.changes import plan_changes

NVML = Path(__file__).parents[1] / "fixtures" / "nvml"
UUIDS = ("GPU-0",)
GPU = {"gpu_limit_ratio": 0.8, "gpu_clock_ratio": 0.5}
HOLDER = """
import sys, time
from pathlib import Path
from autotune.power import PowerHold
root, folder = map(Path, sys.argv[1:3])
with PowerHold({"cpu_governor": "powersave"}, (), root, folder, 0.0) as hold, hold.applied():
    print(hold.pid, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def cpus(tmp_path: Path) -> Path:
    """The root of a machine with two CPUs whose governors differ."""
    for number, governor in enumerate(("schedutil", "performance")):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(governor)
        (folder / "scaling_available_governors").write_text("performance powersave schedutil\n")
    return tmp_path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journals are."""
    (tmp_path / "journals").mkdir()
    return tmp_path / "journals"


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, Any]]:
    """A GPU that somebody has limited to 650 W; tells what is set there."""
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps({"limit": 650_000, "clock": None, "calls": []}))
    monkeypatch.setenv("FAKE_NVML", str(file))
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(NVML), before])))
    spec = importlib.util.spec_from_file_location("pynvml", NVML / "pynvml.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, "pynvml", module)

    def read(**changes: Any) -> dict[str, Any]:
        state = json.loads(file.read_text()) | changes
        file.write_text(json.dumps(state))
        return dict(state)

    return read


def governors(root: Path) -> list[str]:
    return [f.read_text() for f in sorted(root.glob("sys/**/scaling_governor"))]


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        time.sleep(0.02)
    raise AssertionError("it never came")


def test_governors_hold_while_applied_and_each_gets_its_own_back(cpus: Path, folder: Path) -> None:
    with PowerHold({"cpu_governor": "powersave"}, (), cpus, folder, 0.0) as hold:
        for _ in range(2):
            assert governors(cpus) == ["schedutil", "performance"]
            with hold.applied():
                assert governors(cpus) == ["powersave", "powersave"]
                assert len(list(folder.iterdir())) == 1
        assert restore_leftovers(folder) == []  # it lives
    assert governors(cpus) == ["schedutil", "performance"]
    assert list(folder.iterdir()) == []


def test_they_are_restored_after_an_error(cpus: Path, folder: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        PowerHold({"cpu_governor": "powersave"}, (), cpus, folder, 0.0) as hold,
        hold.applied(),
    ):
        raise ZeroDivisionError
    assert governors(cpus) == ["schedutil", "performance"]
    assert list(folder.iterdir()) == []


def start_holder(cpus: Path, folder: Path) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(cpus), str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert holder.stdout is not None
    guardian = int(holder.stdout.readline())
    assert governors(cpus) == ["powersave", "powersave"]
    return holder, guardian


def kill_both(holder: subprocess.Popen[str], guardian: int) -> None:
    os.kill(guardian, signal.SIGKILL)
    wait_until(lambda: psutil.Process(guardian).status() == psutil.STATUS_ZOMBIE)
    end(holder)


def end(holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_are_restored_when_the_search_is_killed(
    cpus: Path, folder: Path, number: signal.Signals
) -> None:
    holder, guardian = start_holder(cpus, folder)
    os.killpg(holder.pid, number)  # the whole group, as a terminal does
    if number is not signal.SIGKILL:
        os.kill(guardian, number)
    wait_until(lambda: governors(cpus) == ["schedutil", "performance"])
    wait_until(lambda: list(folder.iterdir()) == [])
    end(holder)


def test_a_later_start_restores_what_nobody_did(cpus: Path, folder: Path) -> None:
    holder, guardian = start_holder(cpus, folder)
    kill_both(holder, guardian)
    assert governors(cpus) == ["powersave", "powersave"]
    assert len(list(folder.iterdir())) == 1

    with PowerHold({"cpu_governor": "performance"}, (), cpus, folder, 0.0) as hold:
        assert governors(cpus) == ["schedutil", "performance"]
        with hold.applied():
            assert governors(cpus) == ["performance", "performance"]
    assert governors(cpus) == ["schedutil", "performance"]
    assert list(folder.iterdir()) == []


def test_a_guardian_that_is_gone_fails_the_trial_and_is_replaced(cpus: Path, folder: Path) -> None:
    with PowerHold({"cpu_governor": "powersave"}, (), cpus, folder, 0.0) as hold:
        with pytest.raises(BenchError, match="holds the power settings is gone"), hold.applied():
            os.kill(hold.pid, signal.SIGKILL)
        assert governors(cpus) == ["schedutil", "performance"]
    assert list(folder.iterdir()) == []


def test_leftovers_of_another_user_are_not_touched(
    cpus: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, guardian = start_holder(cpus, folder)
    kill_both(holder, guardian)
    (file,) = folder.iterdir()
    mine = os.getuid()
    file.rename(folder / file.name.replace(f"-{mine}-", f"-{mine + 1}-"))
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert restore_leftovers(folder) == []
    assert governors(cpus) == ["powersave", "powersave"]


def test_a_governor_that_cannot_be_set_is_refused(cpus: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="no governor 'ondemand' here: the kernel has perf"):
        PowerHold({"cpu_governor": "ondemand"}, (), cpus, tmp_path)
    with pytest.raises(Unsupported, match="no CPU frequency governor here"):
        PowerHold({"cpu_governor": "powersave"}, (), tmp_path / "nowhere", tmp_path)


def test_a_gpu_gets_milliwatts_and_megahertz_and_its_old_limit_back(
    gpu: Callable[[], dict[str, Any]], folder: Path
) -> None:
    with PowerHold(GPU, UUIDS, folder=folder, settle_seconds=0.0) as hold:
        assert gpu()["calls"] == []
        with hold.applied():
            assert (gpu()["limit"], gpu()["clock"]) == (560_000, [990, 990])
        assert (gpu()["limit"], gpu()["clock"]) == (650_000, None)
    told = gpu()["calls"]
    assert told == [["limit", 560_000], ["lock", 990, 990], ["reset"], ["limit", 650_000]]


def test_what_the_driver_refuses_is_said(gpu: Callable[..., dict[str, Any]], folder: Path) -> None:
    with pytest.raises(Unsupported, match=r"0.6 of 700 W is 420 W; this GPU allows 450 to 700 W"):
        plan_changes({"gpu_limit_ratio": 0.6}, UUIDS)
    with pytest.raises(Unsupported, match="cannot be set: Not Found"):
        plan_changes(GPU, ("GPU-9",))
    gpu(denied=True)
    with (
        PowerHold(GPU, UUIDS, folder=folder, settle_seconds=0.0) as hold,
        pytest.raises(Unsupported, match="the driver lets only root set power limits"),
        hold.applied(),
    ):
        pass
    assert list(folder.iterdir()) == []  # there was nothing to restore
    gpu(denied=False, instead={560_000: 575_000})
    with (
        PowerHold(GPU, UUIDS, folder=folder, settle_seconds=0.0) as hold,
        pytest.raises(Unsupported, match="575000 mW where 560000 mW were asked for"),
        hold.applied(),
    ):
        pass
    assert gpu()["limit"] == 650_000


def test_without_a_driver_nothing_is_set(
    gpu: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_NVML", "/nowhere")
    with pytest.raises(Unsupported, match="NVML"):
        plan_changes(GPU, UUIDS)

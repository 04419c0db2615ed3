"""The estimate from CPU time, with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.energy import find_meter, idle_power
from autotune.energy import zeus as zeus_module
from autotune.energy.cpu_time import CpuTimeEstimate, cpu_seconds
from autotune.testing import fake_device

BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"


def burn(seconds: float) -> None:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_estimate_is_cpu_time_times_watts() -> None:
    meter = CpuTimeEstimate(20.0)
    assert meter.source == "estimated:cpu_time"
    # os.times counts in hundredths of a second.
    assert meter.joules_of(lambda: burn(0.3)) >= 20 * 0.27


@pytest.mark.usefixtures("childless")
def test_children_count_while_they_live_and_after() -> None:
    before = cpu_seconds()
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"done\n"
        alive = cpu_seconds() - before
        child.communicate(b"\n")
    ended = cpu_seconds() - before
    assert alive >= 0.27
    assert ended >= alive - 0.001  # sums of hundredths


@pytest.fixture
def nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zeus_module.importlib.util, "find_spec", lambda name: None)


@pytest.mark.usefixtures("nothing_else")
def test_estimate_only_where_asked_for_and_nothing_measures(tmp_path: Path) -> None:
    assert isinstance(find_meter(fake_device("cpu"), powercap=tmp_path), str)
    found = find_meter(fake_device("cpu"), 12.5, tmp_path)
    assert found == CpuTimeEstimate(12.5)
    assert isinstance(find_meter(fake_device("cuda"), 12.5, tmp_path), str)


@pytest.mark.usefixtures("nothing_else")
def test_estimate_has_no_idle_power() -> None:
    # A host with a counter measures it; here it is the estimate that must not say zero.
    if Path("/sys/class/powercap/intel-rapl:0").exists():
        pytest.skip("this machine has a counter")
    (found,) = idle_power(fake_device("cpu"), 12.5, 0.01).values()
    assert (found.value, found.source) == (None, "unavailable")
    assert found.reason == "an estimate from CPU time says nothing of an idle machine"

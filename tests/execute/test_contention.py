"""What disturbed a measurement: counters of a made-up machine, and of this one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from autotune.execute.contention import ContentionRecorder, Reading
from autotune.execute.grade import drift_ratio, grade, lost_speed_ratio
from autotune.measure_settings import MeasureSettings
from autotune.messages import BlockPair, Contention, Grade, Measurement
from autotune.testing import fake_device

CPU = fake_device("cpu")
TICKS = os.sysconf("SC_CLK_TCK")
PID = 77


class Machine:
    """Kernel files under a folder, as far as the recorder reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc" / "pressure").mkdir(parents=True)
        (root / "proc" / str(PID) / "task" / str(PID)).mkdir(parents=True)
        (root / "sys" / "fs" / "cgroup").mkdir(parents=True)
        self.write()

    def write(
        self,
        *,
        busy: float = 0.0,
        idle: float = 100.0,
        steal: float = 0.0,
        own: float = 0.0,
        switches: int = 0,
        cpu_pressure: float = 0.0,
        throttled: float = 0.0,
    ) -> None:
        """Seconds since the machine was started."""
        proc = self.root / "proc"
        fields = [round(s * TICKS) for s in (busy, 0, 0, idle, 0, 0, 0, steal)]
        (proc / "stat").write_text(f"cpu  {' '.join(map(str, fields))} 0 0\ncpu0 1 2 3\n")
        line = " ".join(["0"] * 11 + [str(round(own * TICKS)), "0"] + ["0"] * 20)
        (proc / str(PID) / "stat").write_text(f"{PID} (a name) with) {line}\n")
        status = proc / str(PID) / "task" / str(PID) / "status"
        status.write_text(f"Name: x\nnonvoluntary_ctxt_switches:\t{switches}\n")
        micros = round(cpu_pressure * 1e6)
        (proc / "pressure" / "cpu").write_text(f"some avg10=0.00 avg60=0.00 total={micros}\n")
        cpu_stat = self.root / "sys" / "fs" / "cgroup" / "cpu.stat"
        cpu_stat.write_text(f"usage_usec 5\nthrottled_usec {round(throttled * 1e6)}\n")

    def recorder(self) -> ContentionRecorder:
        return ContentionRecorder(CPU, self.root)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def seen(machine: Machine, seconds: float = 10.0, **change: float | int) -> Contention:
    """What is seen of a change that takes so long."""
    recorder = machine.recorder()
    before = recorder.read([PID])
    machine.write(**change)  # type: ignore[arg-type]
    after = recorder.read([PID])
    moved = Reading(**{**after.__dict__, "time_seconds": before.time_seconds + seconds})
    return recorder.between(before, moved, [PID])


def test_quiet_machine_has_no_contention(machine: Machine) -> None:
    found = seen(machine, busy=10.0, idle=110.0, own=10.0)
    assert found.foreign_cpu_ratio == pytest.approx(0.0, abs=0.01)
    assert found.steal_ratio == 0.0
    assert found.cpu_pressure_ratio == 0.0
    assert found.memory_pressure_ratio is None, "this machine keeps no memory pressure"
    assert found.thermal_throttles is None


def test_foreign_work_is_what_is_not_our_own(machine: Machine) -> None:
    found = seen(machine, busy=15.0, idle=105.0, own=10.0)
    assert found.foreign_cpu_ratio == pytest.approx(5 / 20, abs=0.01)


def test_steal_pressure_throttling_and_switches(machine: Machine) -> None:
    change = {"idle": 108.0, "steal": 2.0, "cpu_pressure": 1.0, "throttled": 0.5, "switches": 50}
    found = seen(machine, **change)  # type: ignore[arg-type]
    assert found.steal_ratio == pytest.approx(0.2)
    assert found.cpu_pressure_ratio == pytest.approx(0.1)
    assert found.throttled_ratio == pytest.approx(0.05)
    assert found.involuntary_switches_per_second == pytest.approx(5.0)


def test_throttled_cores_are_counted(machine: Machine) -> None:
    file = machine.root / "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    file.parent.mkdir(parents=True)
    file.write_text("3\n")
    recorder = machine.recorder()
    before = recorder.read([PID])
    file.write_text("5\n")
    assert recorder.between(before, recorder.read([PID]), [PID]).thermal_throttles == 2


def test_process_that_is_gone_counts_nothing(machine: Machine) -> None:
    assert machine.recorder().read([PID, 4242]).own_involuntary_switches == 0


def test_load_on_this_machine_is_seen() -> None:
    recorder = ContentionRecorder(CPU)
    busy = "import time\nend = time.monotonic() + 3\nwhile time.monotonic() < end: pass"
    with subprocess.Popen([sys.executable, "-c", busy]) as child:
        before = recorder.read([])
        time.sleep(1.5)
        foreign = recorder.between(before, recorder.read([]), []).foreign_cpu_ratio
        child.kill()
    assert foreign > 0.2 / (os.cpu_count() or 1)


SETTINGS = MeasureSettings()


def value(half_width_ratio: float, *, converged: bool = True) -> Measurement:
    return Measurement(
        value=100.0,
        unit="1/s",
        converged=converged,
        ratio=2.0,
        ratio_ci_low=2.0 * (1 - half_width_ratio),
        ratio_ci_high=2.0 * (1 + half_width_ratio),
    )


@pytest.mark.parametrize(
    ("found", "contention", "expected"),
    [
        (value(0.01), Contention(seconds=1), Grade.A),
        (value(0.01), None, Grade.A),
        (value(0.05, converged=False), Contention(seconds=1), Grade.B),
        (value(0.01), Contention(seconds=1, steal_ratio=0.1), Grade.B),
        (value(0.01), Contention(seconds=1, foreign_cpu_ratio=0.04, steal_ratio=0.04), Grade.B),
        (value(0.01), Contention(seconds=1, drift_ratio=0.2), Grade.B),
        (value(0.01), Contention(seconds=1, foreign_gpu_processes=1), Grade.B),
        (value(0.01), Contention(seconds=1, thermal_throttles=1), Grade.B),
        (value(0.01), Contention(seconds=1, foreign_cpu_ratio=0.7), Grade.C),
        (value(0.01), Contention(seconds=1, throttled_ratio=0.7), Grade.C),
        (value(0.4, converged=False), Contention(seconds=1), Grade.C),
        (value(0.01), Contention(seconds=1, drift_ratio=0.7), Grade.B),
        (value(0.01), Contention(seconds=1, lost_speed_ratio=0.3), Grade.A),
        (value(0.01), Contention(seconds=1, lost_speed_ratio=0.6), Grade.C),
        (value(0.01), Contention(seconds=1, paired=False), Grade.B),
        (value(0.01), Contention(seconds=1, paired=False, drift_ratio=0.7), Grade.C),
    ],
)
def test_grade(found: Measurement, contention: Contention | None, expected: Grade) -> None:
    assert grade(found, contention, SETTINGS) is expected


def pairs(reference: list[float]) -> list[BlockPair]:
    return [
        BlockPair(candidate={"x": 1.0}, reference={"x": r}, candidate_first=True)
        for r in reference
    ]


def test_drift_compares_the_halves_of_the_baselines_own_blocks() -> None:
    assert drift_ratio(pairs([10, 10, 10, 12, 12, 12]), "x") == pytest.approx(0.2)
    assert drift_ratio(pairs([12, 12, 12, 10, 10, 10]), "x") == pytest.approx(0.2)
    assert drift_ratio(pairs([10, 12, 10, 12]), "x") == pytest.approx(0.0)
    assert drift_ratio(pairs([10]), "x") == 0.0


@pytest.mark.parametrize(
    ("name", "beside", "own", "expected"),
    [
        ("output_tokens_per_second", [24.0, 25.0, 26.0], 100.0, 0.75),
        ("output_tokens_per_second", [120.0], 100.0, 0.0),
        ("ttft_seconds", [4.0], 1.0, 0.75),
        ("ttft_seconds", [0.5], 1.0, 0.0),
        ("ttft_seconds", [4.0], None, 0.0),
    ],
)
def test_speed_that_the_baseline_has_lost(
    name: str, beside: list[float], own: float | None, expected: float
) -> None:
    blocks = [BlockPair(candidate={}, reference={name: b}, candidate_first=True) for b in beside]
    assert lost_speed_ratio(blocks, name, own) == pytest.approx(expected)

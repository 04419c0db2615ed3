"""What else used the machine while a trial was measured, from counters that the kernel keeps
anyway: two readings, one before and one after, and nothing that runs in between."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.device import Device, compute_processes
from autotune.messages import Contention

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_IDLE_FIELDS = (3, 4)
"""``idle`` and ``iowait`` in the first line of ``/proc/stat``."""
_STEAL_FIELD = 7


@dataclass(frozen=True)
class Reading:
    """The counters at one moment; None where the kernel does not keep one."""

    time_seconds: float
    cpu_seconds: float
    """All CPUs together, idle time included, as ``/proc/stat`` counts it."""
    busy_seconds: float
    steal_seconds: float
    own_seconds: float
    """CPU time of the processes that belong to the measurement."""
    own_involuntary_switches: int
    cpu_pressure_seconds: float | None
    memory_pressure_seconds: float | None
    throttled_seconds: float | None
    thermal_throttles: int | None


class ContentionRecorder:
    """Reads the counters of one measurement."""

    def __init__(self, device: Device, root: Path = Path("/")) -> None:
        """
        Args:
            device: The device that is measured; a GPU is asked for foreign processes.
            root: Where ``proc`` and ``sys`` are, for tests on recorded files.
        """
        self._device = device
        self._proc = root / "proc"
        self._sys = root / "sys"

    def read(self, pids: Sequence[int]) -> Reading:
        """The counters now.

        Args:
            pids: The bench processes that are measured.
        """
        fields = [int(f) for f in _first_line(self._proc / "stat").split()[1:9]]
        total = sum(fields) / _TICKS_PER_SECOND
        steal = fields[_STEAL_FIELD] / _TICKS_PER_SECOND
        idle = sum(fields[i] for i in _IDLE_FIELDS) / _TICKS_PER_SECOND
        return Reading(
            time_seconds=time.monotonic(),
            cpu_seconds=total,
            busy_seconds=total - idle - steal,
            steal_seconds=steal,
            own_seconds=sum(self._cpu_seconds(pid) for pid in (*pids, os.getpid())),
            own_involuntary_switches=sum(self._involuntary_switches(pid) for pid in pids),
            cpu_pressure_seconds=self._pressure_seconds("cpu"),
            memory_pressure_seconds=self._pressure_seconds("memory"),
            throttled_seconds=self._throttled_seconds(),
            thermal_throttles=self._thermal_throttles(),
        )

    def between(self, before: Reading, after: Reading, own_pids: Iterable[int]) -> Contention:
        """What happened between two readings.

        Args:
            before: The first reading.
            after: The second, of the same processes.
            own_pids: Processes that may use the GPU without being foreign.
        """
        seconds = max(after.time_seconds - before.time_seconds, 1e-9)
        capacity = max(after.cpu_seconds - before.cpu_seconds, 1e-9)
        foreign = (after.busy_seconds - before.busy_seconds) - (
            after.own_seconds - before.own_seconds
        )
        switches = after.own_involuntary_switches - before.own_involuntary_switches
        return Contention(
            seconds=seconds,
            foreign_cpu_ratio=_share(foreign, capacity),
            steal_ratio=_share(after.steal_seconds - before.steal_seconds, capacity),
            cpu_pressure_ratio=_rate(
                before.cpu_pressure_seconds, after.cpu_pressure_seconds, seconds
            ),
            memory_pressure_ratio=_rate(
                before.memory_pressure_seconds, after.memory_pressure_seconds, seconds
            ),
            throttled_ratio=_rate(before.throttled_seconds, after.throttled_seconds, seconds),
            thermal_throttles=_difference(before.thermal_throttles, after.thermal_throttles),
            involuntary_switches_per_second=max(0.0, switches / seconds),
            foreign_gpu_processes=self._foreign_gpu_processes(set(own_pids)),
        )

    def _cpu_seconds(self, pid: int) -> float:
        """User and system time of a process with all its threads; 0 once it is gone."""
        try:
            text = (self._proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            return 0.0
        after_name = text.rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / _TICKS_PER_SECOND

    def _involuntary_switches(self, pid: int) -> int:
        found = 0
        for status in (self._proc / str(pid) / "task").glob("*/status"):
            try:
                lines = status.read_text(encoding="utf-8", errors="replace").splitlines()
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread that has just ended
            found += sum(
                int(line.split()[1]) for line in lines if line.startswith("nonvoluntary_ctxt")
            )
        return found

    def _pressure_seconds(self, resource: str) -> float | None:
        """Time in which some task waited for the resource (pressure stall information)."""
        file = self._proc / "pressure" / resource
        try:
            line = _first_line(file)
        except OSError:
            return None  # not compiled in, or switched off
        total = line.rpartition("total=")[2]
        return int(total) / 1e6

    def _throttled_seconds(self) -> float | None:
        """Time in which the control group's CPU quota stopped its processes (version 2)."""
        file = self._sys / "fs" / "cgroup" / "cpu.stat"
        try:
            lines = file.read_text(encoding="ascii").splitlines()
        except OSError:
            return None
        found = [int(line.split()[1]) for line in lines if line.startswith("throttled_usec")]
        return found[0] / 1e6 if found else None

    def _thermal_throttles(self) -> int | None:
        """How often any core was slowed down because it was hot."""
        pattern = "devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"
        counts = [int(file.read_text(encoding="ascii")) for file in self._sys.glob(pattern)]
        return sum(counts) if counts else None

    def _foreign_gpu_processes(self, own: set[int]) -> int | None:
        if self._device.kind != "cuda":
            return None
        foreign = 0
        for uuid in self._device.uuids:
            running = compute_processes(uuid)
            if running is None:
                return None
            foreign += sum(pid not in own for pid in running)
        return foreign


def _first_line(file: Path) -> str:
    return file.read_text(encoding="ascii").partition("\n")[0]


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole))


def _rate(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else _share(after - before, seconds)


def _difference(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)

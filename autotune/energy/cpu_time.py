"""An estimate: CPU time, times what the user says that a busy core takes."""

from __future__ import annotations

import os
from dataclasses import dataclass

import psutil

from autotune.energy.base import Counter, Reading


@dataclass(frozen=True)
class CpuTimeEstimate(Counter):
    """CPU seconds of this process and its descendants times a given power. It knows nothing of
    frequency, vector units or memory: recipes that compute differently are not told apart."""

    watts_per_core: float
    source: str = "estimated:cpu_time"

    def now(self) -> Reading:
        """Joules since the processes began."""
        return (cpu_seconds() * self.watts_per_core,)


def cpu_seconds() -> float:
    """User and system time of this process, its threads and its descendants."""
    used = sum(os.times()[:4])  # with children that have ended
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.NoSuchProcess:
            continue  # it has ended since
        used += times.user + times.system + times.children_user + times.children_system
    return used

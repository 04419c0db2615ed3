"""Energy counters. What cannot be measured is null with a reason, never zero, never a guess.

Imports no torch: the coordinator asks here whether a study can have an energy objective.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from autotune.device import Device, nvml
from autotune.messages import Measurement, Metrics
from autotune.statistics import median_interval

POWERCAP = Path("/sys/class/powercap")


Reading = tuple[float, ...]
"""What a counter stands at, in joules, one number for each of its parts."""


class EnergyCounter(Protocol):
    """A counter that only grows."""

    @property
    def source(self) -> str:
        """Where the number comes from, as stored with it."""

    def now(self) -> Reading:
        """The counter."""

    def joules_since(self, start: Reading) -> float:
        """Energy since an earlier ``now()``, wrap-around corrected."""


@dataclass(frozen=True)
class RaplCounter:
    """Running Average Power Limit: the packages' counters in the Linux powercap files."""

    zones: tuple[Path, ...]
    source: str = "measured:counter:rapl"

    def now(self) -> Reading:
        """Each package's counter."""
        return tuple(_joules(zone / "energy_uj") for zone in self.zones)

    def joules_since(self, start: Reading) -> float:
        """Energy of all packages; each counter may have started over once."""
        used = 0.0
        for zone, before, after in zip(self.zones, start, self.now(), strict=True):
            wrapped = _joules(zone / "max_energy_range_uj") if after < before else 0.0
            used += after - before + wrapped
        return used


@dataclass(frozen=True)
class NvmlCounter:
    """NVML's total energy of one GPU since the driver was loaded."""

    uuid: str
    source: str = "measured:counter:nvml"

    def now(self) -> Reading:
        """The counter."""
        with nvml() as library:
            handle = library.nvmlDeviceGetHandleByUUID(self.uuid)
            return (float(library.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3,)

    def joules_since(self, start: Reading) -> float:
        """Energy since ``start``."""
        return self.now()[0] - start[0]


def _joules(file: Path) -> float:
    return int(file.read_text(encoding="ascii")) / 1e6


def find_counter(device: Device, powercap: Path = POWERCAP) -> EnergyCounter | str:
    """The energy counter of a device.

    Args:
        device: What the study measures.
        powercap: Folder of the kernel's powercap files.

    Returns:
        The counter, or a sentence that says why there is none.
    """
    return _find_nvml(device) if device.kind == "cuda" else _find_rapl(powercap)


def _find_nvml(device: Device) -> EnergyCounter | str:
    with nvml() as library:
        if library is None:
            return "the NVIDIA driver's library (NVML) cannot be opened"
        handle = library.nvmlDeviceGetHandleByUUID(device.uuid)
        try:
            if library.nvmlDeviceGetMigMode(handle)[0]:
                return "the GPU is partitioned (MIG): its counter covers all partitions"
        except library.NVMLError_NotSupported:
            pass  # a GPU without MIG
        try:
            library.nvmlDeviceGetTotalEnergyConsumption(handle)
        except library.NVMLError as error:
            return f"{device.name} has no readable energy counter: {error}"
    return NvmlCounter(device.uuid)


def _find_rapl(powercap: Path) -> EnergyCounter | str:
    packages = tuple(zone for zone in sorted(powercap.glob("intel-rapl:*")) if _is_package(zone))
    if not packages:
        return f"no RAPL counter in {powercap} (a virtual machine, or a CPU without RAPL)"
    counter = RaplCounter(packages)
    try:
        counter.joules_since(tuple(math.inf for _ in packages))  # reads the ranges too
    except PermissionError:
        return f"{packages[0]}/energy_uj is not readable by this user; as root: chmod a+r it"
    except (OSError, ValueError) as error:
        return f"the RAPL counter in {packages[0]} gives no number: {error}"
    return counter


def _is_package(zone: Path) -> bool:
    """Whether a zone is a CPU package; others are parts of one, or (psys) hold them all."""
    name = zone / "name"
    return (
        zone.name.count(":") == 1
        and (zone / "energy_uj").exists()
        and name.is_file()
        and name.read_text(encoding="ascii").startswith("package")
    )


@dataclass(frozen=True)
class Window:
    """One stretch of requests with the counter read at both ends."""

    joules: float
    seconds: float
    units: int
    """Output tokens, or samples for encoders."""


def _per_unit_name(task: str) -> str:
    return "energy_per_output_token_joules" if task == "causal-lm" else "energy_per_sample_joules"


def unavailable(task: str, reason: str) -> Metrics:
    """The energy metrics of a device without a counter."""
    names = {"energy_joules": "J", _per_unit_name(task): "J", "avg_power_watts": "W"}
    return {
        name: Measurement(value=None, unit=unit, source="unavailable", reason=reason)
        for name, unit in names.items()
    }


def energy_metrics(task: str, windows: Sequence[Window], source: str) -> Metrics:
    """Medians over windows with order-statistic intervals."""
    values = {
        "energy_joules": ("J", [w.joules for w in windows]),
        _per_unit_name(task): ("J", [w.joules / w.units for w in windows]),
        "avg_power_watts": ("W", [w.joules / w.seconds for w in windows]),
    }
    return {name: _median(series, unit, source) for name, (unit, series) in values.items()}


def _median(series: Sequence[float], unit: str, source: str) -> Measurement:
    return Measurement.of(median_interval(series), unit, "median", source)

"""The best source of energy that a device has here."""

from __future__ import annotations

import functools
from pathlib import Path

from autotune.device import Device
from autotune.energy.base import EnergyMeter
from autotune.energy.cpu_time import CpuTimeEstimate
from autotune.energy.external import find_external
from autotune.energy.nvml import find_nvml
from autotune.energy.rapl import POWERCAP, find_rapl
from autotune.energy.zeus import find_zeus


def find_meter(
    device: Device, watts_per_core: float | None = None, powercap: Path = POWERCAP
) -> EnergyMeter | str:
    """The first that works of: an external meter, a counter, a sampled sensor, and for a CPU an
    estimate, if the user gives what it needs.

    Args:
        device: What is measured.
        watts_per_core: What a busy CPU core takes, by the user's word.
        powercap: Folder of the kernel's powercap files.

    Returns:
        The meter, to be closed, or a sentence that says why there is none.

    Raises:
        InputError: An external meter is broken.
    """
    external = find_external(device)
    if not isinstance(external, str):
        return external
    own = find_nvml(device) if device.kind == "cuda" else _find_cpu(powercap)
    if isinstance(own, str) and device.kind == "cpu" and watts_per_core is not None:
        return CpuTimeEstimate(watts_per_core)
    if isinstance(own, str) and external:
        return f"{external}; {own}"
    return own


def _find_cpu(powercap: Path) -> EnergyMeter | str:
    rapl = find_rapl(powercap)
    if not isinstance(rapl, str):
        return rapl
    zeus = find_zeus()
    return f"{rapl}; {zeus}" if isinstance(zeus, str) and zeus else zeus or rapl


@functools.cache
def energy_source(device: Device, watts_per_core: float | None = None) -> tuple[str, str]:
    """What would measure energy, asked once in a process's life.

    Returns:
        The source and no reason, or no source and the reason why there is none.
    """
    found = find_meter(device, watts_per_core)
    if isinstance(found, str):
        return "", found
    source = found.source
    found.close()
    return source, ""

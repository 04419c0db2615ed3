"""The energy of GPUs by NVML: its counter, else its power sensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from autotune.device import Device, nvml
from autotune.energy.base import Counter, EnergyMeter, Reading
from autotune.energy.sampled import SampledMeter

_PART_TIME_SENSORS = ("A100", "H100")

_VGPU = 2
"""``NVML_GPU_VIRTUALIZATION_MODE_VGPU``; a GPU that is passed through as a whole is 1."""


@dataclass(frozen=True)
class NvmlCounter(Counter):
    """NVML's total energy of a trial's GPUs since the driver was loaded."""

    uuids: tuple[str, ...]
    source: str = "measured:counter:nvml"

    def now(self) -> Reading:
        """One counter for each GPU."""
        with nvml() as library:
            handles = [library.nvmlDeviceGetHandleByUUID(uuid) for uuid in self.uuids]
            read = library.nvmlDeviceGetTotalEnergyConsumption
            return tuple(float(read(handle)) / 1e3 for handle in handles)


@dataclass(frozen=True)
class NvmlSampler(SampledMeter):
    """NVML's power reading, for GPUs older than its energy counter."""

    uuids: tuple[str, ...]
    source: str = "measured:sampled:nvml"

    @contextmanager
    def sensor(self) -> Iterator[Callable[[], float]]:
        """Power of the boards in watts."""
        with nvml() as library:
            handles = [library.nvmlDeviceGetHandleByUUID(uuid) for uuid in self.uuids]
            read = library.nvmlDeviceGetPowerUsage
            yield lambda: sum(float(read(handle)) for handle in handles) / 1e3


def find_nvml(device: Device) -> EnergyMeter | str:
    """The best that a GPU has, or why it has nothing."""
    with nvml() as library:
        if library is None:
            return "the NVIDIA driver's library (NVML) cannot be opened"
        handle = library.nvmlDeviceGetHandleByUUID(device.uuid)
        if shared := _why_shared(library, handle):
            return shared
        try:
            library.nvmlDeviceGetTotalEnergyConsumption(handle)
            return NvmlCounter(device.uuids)
        except library.NVMLError as error:
            no_counter = error
        try:
            library.nvmlDeviceGetPowerUsage(handle)
            return NvmlSampler(device.uuids)
        except library.NVMLError as error:
            return (
                f"{device.name} has no readable energy counter ({no_counter}) and no power "
                f"reading ({error})"
            )


def _why_shared(library: Any, handle: Any) -> str:
    """Why the readings are of more than this GPU's own work; empty if they are not."""
    try:
        if library.nvmlDeviceGetMigMode(handle)[0]:
            return "the GPU is partitioned (MIG): its counter covers all partitions"
    except library.NVMLError_NotSupported:
        pass  # a GPU without MIG
    try:
        if library.nvmlDeviceGetVirtualizationMode(handle) == _VGPU:
            return "the GPU is a virtual one (vGPU): readings are of the whole card"
    except library.NVMLError:
        pass  # a driver that does not tell has no vGPU
    return ""


def sensor_caveat(device: Device) -> str:
    """What a reader should know of a GPU's power sensor; empty for most."""
    if device.kind != "cuda" or not any(name in device.name for name in _PART_TIME_SENSORS):
        return ""
    return (
        f"energy: the power sensor of the {device.name} looks at a quarter of the time only "
        "(arXiv 2312.02741), so small differences may be chance"
    )

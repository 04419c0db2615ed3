"""What a device is, read without importing torch."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterator
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from autotune.errors import InputError


class Device(BaseModel):
    """One kind of device that trials run on, as plugins and the coordinator see it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """``cpu`` or ``cuda``."""
    index: int = 0
    """The number of the GPU; 0 for the CPU."""
    name: str
    """The vendor's name, e.g. ``NVIDIA H200``."""
    memory_bytes: int
    """All the memory it has."""
    cores: int
    """CPU cores that this process may use."""
    count: int = 1
    """How many devices of this kind the host has."""
    compute_capability: tuple[int, int] | None = None
    """CUDA compute capability, e.g. ``(9, 0)``; null on a CPU."""
    cpu_flags: frozenset[str] = frozenset()
    """Instruction set extensions, as in ``/proc/cpuinfo``."""

    @property
    def torch_name(self) -> str:
        """The device as torch names it: ``cpu``, ``cuda:1``."""
        return "cpu" if self.kind == "cpu" else f"{self.kind}:{self.index}"


@contextlib.contextmanager
def nvml() -> Iterator[Any]:
    """Opens NVML for a moment.

    Yields:
        The ``pynvml`` module, initialised, or None where there is no NVIDIA driver.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        yield pynvml
    finally:
        pynvml.nvmlShutdown()


def _cpu() -> Device:
    return Device(
        kind="cpu",
        name=_cpuinfo("model name") or platform.processor() or platform.machine(),
        memory_bytes=psutil.virtual_memory().total,
        cores=len(os.sched_getaffinity(0)),
        cpu_flags=frozenset(_cpuinfo("flags").split()),
    )


def _cpuinfo(key: str) -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.split(":")[0].strip() == key:
                return line.split(":", 1)[1].strip()
    return ""


def _gpu(library: Any, index: int) -> Device:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    name = library.nvmlDeviceGetName(handle)
    major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        kind="cuda",
        index=index,
        name=name if isinstance(name, str) else name.decode(),
        memory_bytes=library.nvmlDeviceGetMemoryInfo(handle).total,
        cores=len(os.sched_getaffinity(0)),
        count=library.nvmlDeviceGetCount(),
        compute_capability=(major, minor),
        cpu_flags=_cpu().cpu_flags,
    )


def detect(wanted: str = "auto") -> Device:
    """Finds the device that a study runs on.

    Args:
        wanted: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        InputError: The name is unknown, or this machine has no such device.
    """
    if wanted == "cpu":
        return _cpu()
    kind, _, number = wanted.partition(":")
    if wanted != "auto" and (kind != "cuda" or (number and not number.isdigit())):
        raise InputError(f"unknown device {wanted!r}; allowed: auto, cpu, cuda, cuda:N")
    with nvml() as library:
        count = library.nvmlDeviceGetCount() if library else 0
        if wanted == "auto" and count == 0:
            return _cpu()
        index = int(number or 0)
        if index >= count:
            raise InputError(
                f"device {wanted!r} is not here: NVML finds {count} NVIDIA GPUs; "
                "use --device cpu, or install the NVIDIA driver"
            )
        return _gpu(library, index)

"""What a device is, read without importing torch."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Iterator, Sequence
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from autotune.errors import InputError

KINDS = ("cpu", "cuda")


class Device(BaseModel):
    """One kind of device that trials run on, as plugins and the coordinator see it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    """``cpu`` or ``cuda``."""
    uuid: str = ""
    """Names one GPU for good, e.g. ``GPU-4f…``; numbers depend on who counts."""
    name: str
    """The vendor's name, e.g. ``NVIDIA H200``."""
    memory_bytes: int
    """All the memory it has."""
    cores: int
    """CPU cores that this process may use."""
    count: int = 1
    """How many devices of this kind the host has."""
    peers: tuple[str, ...] = ()
    """The UUIDs of all GPUs of the host that trials may use, this one's among them."""
    others: tuple[str, ...] = ()
    """The UUIDs of the further GPUs that a trial of several has."""
    index: int = 0
    """Which of the trial's GPUs this process computes on; each of several has its own."""
    compute_capability: tuple[int, int] | None = None
    """CUDA compute capability, e.g. ``(9, 0)``; null on a CPU."""
    cpu_flags: frozenset[str] = frozenset()
    """Instruction set extensions, as in ``/proc/cpuinfo``."""

    @property
    def torch_name(self) -> str:
        """The device as torch names it in a bench process, which sees the trial's GPUs alone."""
        return "cpu" if self.kind == "cpu" else f"cuda:{self.index}"

    @property
    def uuids(self) -> tuple[str, ...]:
        """Of all GPUs that a trial has; empty on a CPU."""
        return (self.uuid, *self.others) if self.kind == "cuda" else ()

    def with_gpus(self, count: int) -> Device:
        """This GPU together with its neighbours: of eight GPUs the pairs are 0 and 1, 2 and 3, …,
        so that trials of one size do not overlap in part where it divides the number of all.

        Args:
            count: How many in all; at most as many as there are peers.
        """
        if count <= 1:
            return self.model_copy(update={"others": ()})
        first = self.peers.index(self.uuid) // count * count
        group = self.peers[min(first, len(self.peers) - count) :][:count]
        others = tuple(uuid for uuid in group if uuid != self.uuid)
        return self.model_copy(update={"others": others})

    @property
    def environment(self) -> dict[str, str]:
        """What makes a process see the trial's GPUs and no other."""
        if self.kind == "cpu":
            return {}
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.uuids), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


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


def free_bytes(device: Device) -> int:
    """Memory that a new process could have: of the GPU, else of this machine."""
    with nvml() as library:
        if device.kind == "cuda" and library is not None:
            handle = library.nvmlDeviceGetHandleByUUID(device.uuid)
            return int(library.nvmlDeviceGetMemoryInfo(handle).free)
    return int(psutil.virtual_memory().available)


def compute_processes(uuid: str) -> dict[int, int | None] | None:
    """The processes that compute on a GPU, by process id.

    Args:
        uuid: Which GPU.

    Returns:
        Process id → bytes that it holds there (None where NVML does not tell), or None where
        NVML is not here or does not list processes. A container that hides process ids shows
        those of the host, or none.
    """
    with nvml() as library:
        if library is None:
            return None
        try:
            handle = library.nvmlDeviceGetHandleByUUID(uuid)
            running = library.nvmlDeviceGetComputeRunningProcesses(handle)
        except library.NVMLError:
            return None
    return {process.pid: process.usedGpuMemory for process in running}


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


def _text(given: str | bytes) -> str:
    return given if isinstance(given, str) else given.decode()


def _visible(library: Any) -> list[Any]:
    """NVML handles of the GPUs that ``CUDA_VISIBLE_DEVICES`` leaves, in its order.

    NVML ignores that variable; numbers in it are taken in PCI order, as NVML counts.
    """
    every = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return every
    by_name = {str(i): handle for i, handle in enumerate(every)}
    by_name |= {_text(library.nvmlDeviceGetUUID(handle)): handle for handle in every}
    names = [name.strip() for name in wanted.split(",")]
    return [by_name[name] for name in names if name in by_name]


def _gpu(library: Any, handle: Any, visible: Sequence[Any]) -> Device:
    major, minor = library.nvmlDeviceGetCudaComputeCapability(handle)
    return Device(
        kind="cuda",
        uuid=_text(library.nvmlDeviceGetUUID(handle)),
        name=_text(library.nvmlDeviceGetName(handle)),
        memory_bytes=library.nvmlDeviceGetMemoryInfo(handle).total,
        cores=len(os.sched_getaffinity(0)),
        count=len(visible),
        peers=tuple(_text(library.nvmlDeviceGetUUID(other)) for other in visible),
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
        visible = _visible(library) if library and not _torch_is_for_cpus() else []
        if wanted == "auto" and not visible:
            return _cpu()
        index = int(number or 0)
        if index >= len(visible):
            raise InputError(
                f"device {wanted!r} is not here: {_gpus_in_words(len(visible))} use --device cpu"
            )
        return _gpu(library, visible[index], visible)


def _torch_is_for_cpus() -> bool:
    try:
        return importlib.metadata.version("torch").endswith("+cpu")
    except importlib.metadata.PackageNotFoundError:
        return False


def _gpus_in_words(count: int) -> str:
    if _torch_is_for_cpus():
        return "the torch that is installed is built for CPUs only; install one for CUDA, or"
    return (
        f"NVML finds {count} NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves; install the driver, or"
    )

"""Memory of this process: the kernel's own peak counter, torch's allocator, NVML."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path
from typing import Any

import torch

from autotune.device import Device, nvml
from autotune.messages import Measurement, Metrics


def status_bytes(field: str) -> int:
    """A field of ``/proc/self/status`` such as ``VmRSS`` or ``VmHWM``, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise KeyError(f"/proc/self/status has no field {field}")


def reset_peak() -> None:
    """Makes the kernel forget the peak: afterwards ``VmHWM`` equals ``VmRSS``.

    ``ru_maxrss`` would not do: it cannot be reset and is inherited through exec.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def release_freed() -> None:
    """Gives memory that is free but still held back to the system, so that an earlier phase does
    not count in the next one's peak."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def weights_bytes(model: Any) -> int:
    """Bytes of the unique storages of all parameters and buffers, tied weights once.

    Quantized tensors are subclasses that hide their parts; they are taken apart.
    """
    seen: dict[tuple[str, int], int] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        for part in _plain_parts(tensor):
            storage = part.untyped_storage()
            seen[str(part.device), storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def _plain_parts(tensor: Any) -> list[Any]:
    inner = tensor.data if isinstance(tensor, torch.nn.Parameter) else tensor
    flatten = getattr(inner, "__tensor_flatten__", None)
    if flatten is None or type(inner) is torch.Tensor:
        return [inner]
    return [part for name in flatten()[0] for part in _plain_parts(getattr(inner, name))]


class MemoryMeter:
    """Peaks while serving, from the second request on."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._resident_before_loading = 0

    def before_loading(self) -> None:
        """Notes what the process holds when everything but the model is there."""
        release_freed()
        self._resident_before_loading = status_bytes("VmRSS")

    def prepare_peak(self) -> Metrics:
        """The peak so far: of a process that loads and transforms the model."""
        return {"host_prepare_peak_rss_bytes": _bytes(status_bytes("VmHWM"), "VmHWM")}

    def start(self) -> None:
        """Begins a new peak."""
        release_freed()
        reset_peak()
        if self._device.kind == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def read(self) -> Metrics:
        """The peaks since ``start``."""
        peak = status_bytes("VmHWM")
        found = {
            "host_peak_rss_bytes": _bytes(peak, "VmHWM"),
            "host_model_peak_bytes": _bytes(peak - self._resident_before_loading, "VmHWM"),
        }
        return found | (self._read_cuda() if self._device.kind == "cuda" else {})

    def _read_cuda(self) -> Metrics:
        reserved = torch.cuda.max_memory_reserved()
        process = _nvml_process_bytes(self._device.uuid)
        return {
            "device_peak_allocated_bytes": _bytes(
                torch.cuda.max_memory_allocated(), "torch allocator"
            ),
            "device_peak_reserved_bytes": _bytes(reserved, "torch allocator"),
            "device_peak_process_bytes": _bytes(
                reserved if process is None else process,
                "torch allocator (reserved)" if process is None else "nvml",
            ),
        }


def _bytes(value: float, source: str) -> Measurement:
    return Measurement(value=float(value), unit="B", source=source)


def _nvml_process_bytes(uuid: str) -> int | None:
    """What NVML says that this process holds; None where it cannot tell, as in a container that
    hides process ids."""
    with nvml() as library:
        if library is None:
            return None
        try:
            handle = library.nvmlDeviceGetHandleByUUID(uuid)
            running = library.nvmlDeviceGetComputeRunningProcesses(handle)
        except library.NVMLError:
            return None
        own = [p.usedGpuMemory for p in running if p.pid == os.getpid() and p.usedGpuMemory]
        return int(own[0]) if own else None

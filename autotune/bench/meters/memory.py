"""Memory of this process: the kernel's own peak counter, torch's allocator, NVML."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autotune.bench.allocator import release_freed
from autotune.device import Device, compute_processes
from autotune.messages import Measurement, Metrics
from autotune.metrics import device_peak, host_peak

_MAPPING = re.compile(r"[0-9a-f]+-[0-9a-f]+ ")
"""How the first line of a mapping in ``/proc/self/smaps`` begins."""

_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")
"""How that line ends where the mapping is of a shared library."""


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


def library_bytes() -> int:
    """Resident pages of shared libraries: they come in when code runs for the first time."""
    total, counted = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        if _MAPPING.match(line):
            counted = bool(_LIBRARY.search(line))
        elif counted and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def weights_bytes(model: Any) -> int:
    """Bytes of the unique storages of all parameters and buffers, tied weights once.

    Quantized tensors are subclasses that hide their parts; they are taken apart. Those that a
    transform marked as ``offloaded`` are elsewhere.
    """
    seen: dict[tuple[str, int], int] = {}
    held = (t for t in model.parameters() if not is_offloaded(t))
    for tensor in [*held, *model.buffers()]:
        for part in plain_parts(tensor):
            storage = part.untyped_storage()
            seen[str(part.device), storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def weights_disk_bytes(model: Any) -> int:
    """Bytes of the tensors that saving writes."""
    return sum(weights_on_disk(model).values())


def weights_on_disk(model: Any) -> dict[str, int]:
    """Bytes of the tensors that saving writes, by name: of the state dict, tied weights once, and
    of a view only what it shows. Quantized tensors are taken apart; one that several processes
    hold parts of counts whole, since it is saved once."""
    seen: set[tuple[str, int, int]] = set()
    found: dict[str, int] = {}
    for name, tensor in model.state_dict().items():
        for number, part in enumerate(plain_parts(tensor)):
            place = (str(part.device), part.data_ptr(), part.nbytes)
            if place not in seen:
                seen.add(place)
                whole = tensor if is_divided(tensor) else part
                found[f"{name}.{number}"] = whole.nbytes
    return found


def is_offloaded(weight: Any) -> bool:
    """Whether a transform has marked a parameter as kept elsewhere than in memory."""
    return bool(getattr(weight, "offloaded", False))


def is_divided(tensor: Any) -> bool:
    """Whether processes hold parts of a tensor: it is a ``DTensor``."""
    return hasattr(tensor, "full_tensor")


def plain_parts(tensor: Any) -> list[Any]:
    """The plain tensors that a parameter or buffer is made of."""
    inner = tensor.data if isinstance(tensor, torch.nn.Parameter) else tensor
    flatten = getattr(inner, "__tensor_flatten__", None)
    if flatten is None or type(inner) is torch.Tensor:
        return [inner]
    parts = (getattr(inner, name) for name in flatten()[0])
    # Of a tensor that is divided among processes: this one's part, and who they are.
    return [p for part in parts if isinstance(part, torch.Tensor) for p in plain_parts(part)]


class MemoryMeter:
    """Peaks of each phase of a process's life, and the headline: while it serves, from the
    second request on.

    The headline's peaks run from ``start`` to ``read`` and are never reset in between; the
    phases before have peaks of their own, and those of prefill and decode come from one more
    request after ``read`` (see ``phases.request_phases``).
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._resident_before_loading = 0
        self._libraries_before_loading = 0
        self._phases: Metrics = {}

    def before_loading(self) -> None:
        """Notes what the process holds when everything but the model is there."""
        self._begin()
        gc.freeze()  # what is there now stays: searching it for garbage again would take long
        self._resident_before_loading = status_bytes("VmRSS")
        self._libraries_before_loading = library_bytes()

    def end_of(self, phase: str) -> None:
        """Takes the peaks of a phase that is over, and begins those of the next.

        Args:
            phase: One of ``autotune.metrics.PHASES``.
        """
        self._phases[host_peak(phase)] = _bytes(status_bytes("VmHWM"), "VmHWM")
        if self._device.kind == "cuda":
            live = _on_all_gpus(torch.cuda.max_memory_allocated)
            self._phases[device_peak(phase)] = _bytes(live, "torch allocator")
        self._begin()

    def phases(self) -> Metrics:
        """The peaks of the phases that have ended so far."""
        return dict(self._phases)

    def start(self) -> None:
        """Begins a new peak."""
        self._begin()

    def _begin(self) -> None:
        release_freed()
        reset_peak()
        if self._device.kind == "cuda":
            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)

    def read(self) -> Metrics:
        """The headline: the peaks since ``start``."""
        peak = status_bytes("VmHWM")
        code = library_bytes() - self._libraries_before_loading
        model = peak - self._resident_before_loading - code
        found = {
            "host_peak_rss_bytes": _bytes(peak, "VmHWM"),
            "host_model_peak_bytes": _bytes(model, "VmHWM, smaps"),
        }
        return found | (self._read_cuda() if self._device.kind == "cuda" else {})

    def _read_cuda(self) -> Metrics:
        reserved = _on_all_gpus(torch.cuda.max_memory_reserved)
        # None where NVML cannot tell, as in a container that hides process ids.
        parts = [(compute_processes(u) or {}).get(os.getpid()) for u in self._device.uuids]
        known = [part for part in parts if part is not None]
        process = sum(known) if len(known) == len(parts) else None
        return {
            "device_peak_allocated_bytes": _bytes(
                _on_all_gpus(torch.cuda.max_memory_allocated), "torch allocator"
            ),
            "device_peak_reserved_bytes": _bytes(reserved, "torch allocator"),
            "device_peak_process_bytes": _bytes(
                process or reserved, "nvml" if process else "torch allocator (reserved)"
            ),
        }


def _on_all_gpus(read: Callable[[int], int]) -> int:
    """The sum over the GPUs that this process sees: they are the trial's own."""
    return sum(read(index) for index in range(torch.cuda.device_count()))


def _bytes(value: float, source: str) -> Measurement:
    return Measurement(value=float(value), unit="B", source=source)

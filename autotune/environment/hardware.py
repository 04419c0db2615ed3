"""The machine, from ``/proc``, ``/sys`` and NVML."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autotune.device import Device, nvml
from autotune.hashing import sha256_json

UNKNOWN = "unknown"
"""A value that this machine does not tell, e.g. the power limit of a GPU that has none."""

_Processor = dict[str, str]


def hardware(device: Device, root: Path = Path("/")) -> dict[str, str]:
    """The device, the host it is in, and the driver of a GPU.

    Args:
        device: What the trials run on.
        root: The folder that holds ``proc`` and ``sys``.
    """
    return {
        "device": device.name,
        "device_kind": device.kind,
        "device_memory_bytes": str(device.memory_bytes),
        "cpu_cores": str(device.cores),
        **_host(root),
        **(_gpu(device) if device.kind == "cuda" else {}),
    }


def read_text(file: Path) -> str:
    """A file's one line, or ``unknown`` where it is not here or not readable."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="utf-8").strip() or UNKNOWN
    return UNKNOWN


def _host(root: Path) -> dict[str, str]:
    processors = _processors(root)
    first = processors[0] if processors else {}
    flags = (first.get("flags") or first.get("Features", "")).split()
    return {
        "cpu_model": _cpu_model(first),
        "cpu_flags_sha256": sha256_json(sorted(set(flags)))[:16] if flags else UNKNOWN,
        "cpu_physical_cores": _physical_cores(processors),
        "cpu_logical_cores": str(len(processors)) if processors else UNKNOWN,
        "ram_bytes": _ram_bytes(root),
        "virtualization": _virtualization(flags),
        "system_vendor": read_text(root / "sys/class/dmi/id/sys_vendor"),
    }


def _processors(root: Path) -> list[_Processor]:
    """``/proc/cpuinfo`` as one mapping for each logical CPU."""
    blocks = read_text(root / "proc/cpuinfo").split("\n\n")
    found = [
        {key.strip(): value.strip() for key, _, value in (x.partition(":") for x in b.split("\n"))}
        for b in blocks
    ]
    return [processor for processor in found if "processor" in processor]


def _cpu_model(processor: _Processor) -> str:
    """The name, or on ARM, which has none, implementer, part and revision."""
    arm = [processor.get(f"CPU {key}") for key in ("implementer", "part", "variant", "revision")]
    return processor.get("model name") or " ".join(filter(None, arm)) or UNKNOWN


def _physical_cores(processors: list[_Processor]) -> str:
    cores = {(p.get("physical id"), p["core id"]) for p in processors if "core id" in p}
    return str(len(cores)) if cores else UNKNOWN


def _ram_bytes(root: Path) -> str:
    for line in read_text(root / "proc/meminfo").splitlines():
        key, _, value = line.partition(":")
        if key == "MemTotal":
            return str(int(value.split()[0]) * 1024)
    return UNKNOWN


def _virtualization(flags: list[str]) -> str:
    """A hypervisor sets the flag of that name on x86; others do not tell."""
    if not flags or "fpu" not in flags:
        return UNKNOWN
    return "virtual machine" if "hypervisor" in flags else "none"


def _gpu(device: Device) -> dict[str, str]:
    """The driver and the power limit in force, by NVML."""
    keys = ("gpu_driver", "gpu_power_limit_watts")
    with nvml() as library:
        if library is None:
            return dict.fromkeys(keys, UNKNOWN)

        def told(read: Callable[[], Any]) -> Any:
            try:
                return read()
            except library.NVMLError:
                return None

        driver = told(library.nvmlSystemGetDriverVersion)
        limit = told(lambda: library.nvmlDeviceGetEnforcedPowerLimit(_handle(library, device)))
    driver = driver.decode() if isinstance(driver, bytes) else driver
    watts = UNKNOWN if limit is None else str(round(limit / 1000))
    return dict(zip(keys, (driver or UNKNOWN, watts), strict=True))


def _handle(library: Any, device: Device) -> Any:
    return library.nvmlDeviceGetHandleByUUID(device.uuid)

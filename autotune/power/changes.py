"""What can be changed, what it was before, and how it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from autotune.device import nvml
from autotune.plugin import Unsupported

GPU_LIMIT, GPU_CLOCK, GOVERNOR = "gpu_limit_ratio", "gpu_clock_ratio", "cpu_governor"
"""Keys of what plugins ask for: a share of the board's default power limit, a share of the highest
SM clock, the name of a governor."""

GOVERNORS = "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"
"""One file for each CPU, below the root."""


class Denied(Unsupported):
    """The driver refused: nothing was set."""


@dataclass(frozen=True)
class Change:
    """One value of one device."""

    what: Literal["gpu_limit_milliwatts", "gpu_clock_megahertz", "governor"]
    where: str
    """UUID of a GPU, or a governor's file."""
    value: int | str
    before: int | str | None
    """None: whatever the driver does by itself, since it does not tell what clocks are locked."""


def plan_changes(
    asked: Mapping[str, Any], uuids: Sequence[str], root: Path = Path("/")
) -> list[Change]:
    """Reads what is set now.

    Args:
        asked: What plugins ask for.
        uuids: Of the trial's GPUs.
        root: The folder that holds ``sys``.

    Raises:
        Unsupported: It cannot be set here.
    """
    found: list[Change] = []
    if GPU_LIMIT in asked or GPU_CLOCK in asked:
        with nvml() as library:
            if library is None:
                raise Unsupported("the NVIDIA driver's library (NVML) cannot be opened")
            with _in_words(library):
                for uuid in uuids:
                    found += _gpu_changes(library, uuid, asked)
    if GOVERNOR in asked:
        found += governor_changes(str(asked[GOVERNOR]), root)
    return found


def _gpu_changes(library: Any, uuid: str, asked: Mapping[str, Any]) -> Iterator[Change]:
    handle = library.nvmlDeviceGetHandleByUUID(uuid)
    if GPU_LIMIT in asked:
        default = library.nvmlDeviceGetPowerManagementDefaultLimit(handle)
        least, most = library.nvmlDeviceGetPowerManagementLimitConstraints(handle)
        limit = round(default * float(asked[GPU_LIMIT]))
        if not least <= limit <= most:
            raise Unsupported(
                f"{asked[GPU_LIMIT]} of {default / 1000:g} W is {limit / 1000:g} W; this GPU "
                f"allows {least / 1000:g} to {most / 1000:g} W"
            )
        now = library.nvmlDeviceGetPowerManagementLimit(handle)
        yield Change("gpu_limit_milliwatts", uuid, limit, now)
    if GPU_CLOCK in asked:
        highest = library.nvmlDeviceGetMaxClockInfo(handle, library.NVML_CLOCK_SM)
        clock = round(highest * float(asked[GPU_CLOCK]))
        yield Change("gpu_clock_megahertz", uuid, clock, None)


def governor_changes(governor: str, root: Path) -> list[Change]:
    """As ``plan_changes``, of the CPUs."""
    files = sorted(root.glob(GOVERNORS))
    if not files:
        raise Unsupported("the kernel shows no CPU frequency governor here (no cpufreq in /sys)")
    for file in files:
        try:
            allowed = (file.parent / "scaling_available_governors").read_text("ascii").split()
            with file.open("r+", encoding="ascii"):
                pass
        except PermissionError:
            raise Unsupported(f"only root may write {file}") from None
        if governor not in allowed:
            raise Unsupported(f"no governor {governor!r} here: the kernel has {' '.join(allowed)}")
    return [Change("governor", str(f), governor, f.read_text("ascii").strip()) for f in files]


def write(change: Change, value: int | str | None) -> None:
    """Sets a value and looks whether it is set.

    Args:
        change: Of which device.
        value: Its ``value`` or ``before``.

    Raises:
        Denied: It may not be set.
        Unsupported: Something else was set.
    """
    if change.what == "governor":
        _write_governor(Path(change.where), str(value))
        return
    with nvml() as library:
        if library is None:
            raise Unsupported("the NVIDIA driver's library (NVML) cannot be opened")
        with _in_words(library):
            handle = library.nvmlDeviceGetHandleByUUID(change.where)
            _WRITE_GPU[change.what](library, handle, value)


def _write_limit(library: Any, handle: Any, milliwatts: int) -> None:
    library.nvmlDeviceSetPowerManagementLimit(handle, milliwatts)
    now = library.nvmlDeviceGetPowerManagementLimit(handle)
    if now != milliwatts:
        raise Unsupported(f"the driver set {now} mW where {milliwatts} mW were asked for")


def _write_clock(library: Any, handle: Any, megahertz: int | None) -> None:
    if megahertz is None:
        library.nvmlDeviceResetGpuLockedClocks(handle)
    else:
        library.nvmlDeviceSetGpuLockedClocks(handle, megahertz, megahertz)


_WRITE_GPU: dict[str, Callable[[Any, Any, Any], None]] = {
    "gpu_limit_milliwatts": _write_limit,
    "gpu_clock_megahertz": _write_clock,
}


def _write_governor(file: Path, governor: str) -> None:
    file.write_text(governor, encoding="ascii")
    now = file.read_text(encoding="ascii").strip()
    if now != governor:
        raise Unsupported(f"{file} says {now!r} after {governor!r} was written")


@contextmanager
def _in_words(library: Any) -> Iterator[None]:
    try:
        yield
    except library.NVMLError_NoPermission:
        raise Denied(
            "the driver lets only root set power limits and clocks: run as root, or leave them"
        ) from None
    except library.NVMLError as error:
        raise Denied(f"the GPU's power or clocks cannot be set: {error}") from error

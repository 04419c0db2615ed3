"""What a device must at least be able to do; no plugin."""

from __future__ import annotations

from autotune.device import Device
from autotune.plugin import Unsupported

_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


def computes_bfloat16(device: Device) -> bool:
    """Whether a CPU has instructions that multiply in bfloat16; else it is emulated."""
    return bool(_BFLOAT16_FLAGS & device.cpu_flags)


def require_capability(what: str, device: Device, least: tuple[int, int]) -> None:
    """Refuses devices without CUDA, and older GPUs.

    Args:
        what: Begins the sentence that says no.
        device: Where it is to run.
        least: CUDA compute capability.

    Raises:
        Unsupported: The device has less.
    """
    if device.compute_capability is None or device.compute_capability < least:
        major, minor = least
        raise Unsupported(
            f"{what} needs CUDA compute capability {major}.{minor} or higher; "
            f"this is {device.name}"
        )

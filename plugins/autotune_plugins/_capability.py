"""What a GPU must at least be able to do; no plugin."""

from __future__ import annotations

from autotune.device import Device
from autotune.plugin import Unsupported


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

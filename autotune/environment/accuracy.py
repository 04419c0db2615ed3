"""What accuracy depends on besides model, recipe and text."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.device import Device
from autotune.environment.software import library_versions
from autotune.hashing import sha256_json

SCORING_VERSION = 3
"""Raised when our scoring, tokenization or decoding changes: older accuracy is then not reused."""


def accuracy_key(device: Device, task: str, versions: Mapping[str, str] | None = None) -> str:
    """Names what accuracy depends on besides model, recipe and text: the task, the device, the
    libraries and our own scoring.

    Args:
        device: Where it is scored.
        task: What the model does.
        versions: Holds the libraries' versions there; by default those of this process.
    """
    libraries = library_versions()
    if versions is not None:
        libraries = {name: versions.get(name, "") for name in libraries}
    identity = [SCORING_VERSION, task, device.kind, device.name, sorted(device.cpu_flags)]
    return sha256_json([*identity, libraries])[:16]

"""What the numbers were taken on: machine and versions, read without importing torch."""

from __future__ import annotations

import importlib.metadata
import platform

from autotune.device import Device
from autotune.hashing import sha256_json

SCORING_VERSION = 1
"""Raised when our scoring, tokenization or decoding changes: older accuracy is then not reused."""

_PACKAGES = ("autotune", "torch", "transformers", "torchao", "optuna", "numpy")


def describe_environment(device: Device) -> dict[str, str]:
    """Machine and software, for people and for the record."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "device": device.name,
        "device_kind": device.kind,
        "device_memory_bytes": str(device.memory_bytes),
        "cpu_cores": str(device.cores),
        **{name: version for name, version in versions.items() if version},
    }


def library_versions() -> dict[str, str]:
    """The libraries that change numbers."""
    return {name: _version(name) for name in ("torch", "transformers", "torchao")}


def accuracy_key(device: Device, task: str) -> str:
    """Names what accuracy depends on besides model, recipe and text: the task, the device, the
    libraries and our own scoring."""
    identity = [SCORING_VERSION, task, device.kind, device.name, sorted(device.cpu_flags)]
    return sha256_json([*identity, library_versions()])[:16]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""

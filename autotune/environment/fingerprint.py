"""Hardware, software and settings as one flat record, and the id of its stable part."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from autotune.device import Device
from autotune.energy import energy_source
from autotune.environment.hardware import UNKNOWN, hardware
from autotune.environment.settings import VARIABLE, settings
from autotune.environment.software import software
from autotune.errors import InputError
from autotune.hashing import sha256_json

ENV_ID = "env_id"
"""The key of the id in the record."""

ENERGY_SOURCE = "energy_source"
"""The key of what measures energy, or ``NO_ENERGY`` where nothing does."""

NO_ENERGY = "none"

NOT_RECORDED = "not recorded"
"""Stands for a key that one of two environments does not have."""


def _whole(value: str) -> str:
    return value


def _series(value: str) -> str:
    """``Linux 6.8.0-45-generic`` → ``Linux 6.8``, ``3.12.4`` → ``3.12``."""
    return ".".join(value.split(".")[:2])


def _branch(value: str) -> str:
    """``570.133.20`` → ``570``."""
    return value.split(".")[0]


def _gib(value: str) -> str:
    """Bytes to the nearest GiB: kernels and drivers keep some megabytes for themselves."""
    return value if value == UNKNOWN else str(round(int(value) / (1 << 30)))


def _file_names(value: str) -> str:
    """The libraries of ``LD_PRELOAD`` without the folders that they lie in."""
    return " ".join(part.rpartition("/")[2] for part in value.replace(":", " ").split())


STABLE: Mapping[str, Callable[[str], str]] = {
    "device": _whole,
    "device_kind": _whole,
    "device_memory_bytes": _gib,
    "cpu_cores": _whole,
    "cpu_model": _whole,
    "cpu_flags_sha256": _whole,
    "cpu_physical_cores": _whole,
    "cpu_logical_cores": _whole,
    "ram_bytes": _gib,
    "virtualization": _whole,
    "system_vendor": _whole,
    "gpu_driver": _branch,
    "gpu_power_limit_watts": _whole,
    "os": _series,
    "python": _series,
    "autotune": _whole,
    "torch": _whole,
    "transformers": _whole,
    "torchao": _whole,
    "peft": _whole,
    "onnxruntime": _whole,
    "onnxscript": _whole,
    "openvino": _whole,
    "nncf": _whole,
    "llama-cpp-python": _whole,
    "gguf": _whole,
    "vllm": _whole,
    "sglang": _whole,
    "numpy": _whole,
    "plugin_distributions": _whole,
    "cpu_governor": _whole,
    "transparent_huge_pages": _whole,
    ENERGY_SOURCE: _whole,
}
"""What must be the same for two numbers to be compared: key → the part of its value that counts.

Every recorded environment variable counts too, but for those of ``_UNSTABLE_VARIABLES``. Recorded
and not counted: ``packages_sha256`` (a test tool changes it), ``optuna`` (chooses recipes and
measures none), and what ``_series``, ``_branch`` and ``_gib`` leave out."""

_UNSTABLE_VARIABLES = ("CUDA_VISIBLE_DEVICES",)
"""Says which GPU, and ``device`` says what GPU that is; every trial's process gets its own."""

_PLACES = ("_DIR", "_PATH", "_FILE")
"""Ends of variables that say where something lies, e.g. ``TORCHINDUCTOR_CACHE_DIR``."""


def describe_environment(
    device: Device, root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Machine, software and settings, for people and for the record.

    Args:
        device: What the trials run on.
        root: The folder that holds ``proc`` and ``sys``.
        environment: The environment variables.

    Raises:
        InputError: An energy meter of another distribution is broken.
    """
    found = {**hardware(device, root), **software(), **settings(root, environment)}
    found[ENERGY_SOURCE] = energy_source(device)[0] or NO_ENERGY
    return {**found, ENV_ID: env_id(found)}


def env_id(environment: Mapping[str, str]) -> str:
    """Names the stable part of an environment in 16 hexadecimal digits."""
    return sha256_json(_stable(environment))[:16]


def environment_differences(
    then: Mapping[str, str], now: Mapping[str, str]
) -> dict[str, tuple[str, str]]:
    """What forbids to compare numbers of two environments.

    Returns:
        Key → (then, now) for every stable key that differs; empty if the ids are the same.
    """
    if ENV_ID in then and then[ENV_ID] == now.get(ENV_ID):
        return {}
    one, other = _stable(then), _stable(now)
    keys = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return {key: _both(key, then, now) for key in keys or [ENV_ID]}


def compare_environments(
    then: Mapping[str, str], now: Mapping[str, str], *, allow_different: bool
) -> list[str]:
    """Refuses to compare numbers of two environments, or says what differs.

    Returns:
        One line for every difference, for a person.

    Raises:
        InputError: They differ, and that is not allowed.
    """
    differing = environment_differences(then, now)
    lines = [f"{key} differs: then {a}, now {b}" for key, (a, b) in differing.items()]
    if lines and not allow_different:
        raise InputError(
            f"numbers of different machines, versions or settings are not comparable ("
            f"{'; '.join(lines)}); do it where and as the study was begun, or give "
            "--allow-different-env"
        )
    return lines


def _both(key: str, then: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str]:
    return then.get(key, NOT_RECORDED), now.get(key, NOT_RECORDED)


def _stable(environment: Mapping[str, str]) -> dict[str, str]:
    counted = {key: _part_of(key) for key in environment}
    return {key: part(environment[key]) for key, part in counted.items() if part}


def _part_of(key: str) -> Callable[[str], str] | None:
    """What of a key's value counts; None for a key that does not."""
    if not key.startswith(VARIABLE):
        return STABLE.get(key)
    name = key.removeprefix(VARIABLE)
    if name in _UNSTABLE_VARIABLES or name.endswith(_PLACES):
        return None
    return _file_names if name == "LD_PRELOAD" else _whole

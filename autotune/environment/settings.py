"""What somebody set on this machine and what changes speed: variables, governor, huge pages."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

from autotune.environment.hardware import UNKNOWN, read_text

ALLOWED_VARIABLES = (
    "OMP_*",
    "MKL_NUM_THREADS",
    "KMP_*",
    "GOMP_*",
    "ATEN_CPU_CAPABILITY",
    "CUDA_VISIBLE_DEVICES",
    "PYTORCH_*",
    "TORCHINDUCTOR_*",
    "MALLOC_*",
    "LD_PRELOAD",
)
"""Environment variables that are recorded; no other is read, so that no secret is stored."""

VARIABLE = "env:"
"""Begins the key of an environment variable."""


def settings(
    root: Path = Path("/"), environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The settings in force.

    Args:
        root: The folder that holds ``sys``.
        environment: The environment variables.
    """
    return {
        **{VARIABLE + name: environment[name] for name in sorted(environment) if _allowed(name)},
        "cpu_governor": _governor(root),
        "transparent_huge_pages": _chosen(root / "sys/kernel/mm/transparent_hugepage/enabled"),
    }


def _allowed(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in ALLOWED_VARIABLES)


def _governor(root: Path) -> str:
    """What sets the CPU frequency; every name that some CPU has."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({read_text(file) for file in files})) or UNKNOWN


def _chosen(file: Path) -> str:
    """``always [madvise] never`` → ``madvise``."""
    found = re.search(r"\[(\w+)\]", read_text(file))
    return found[1] if found else UNKNOWN

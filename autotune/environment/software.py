"""Kernel, Python and the installed distributions, without importing any of them."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import re

from autotune.hashing import sha256_json
from autotune.registry import GROUP

_ENGINES = (
    *("onnxruntime", "onnxscript", "openvino", "nncf", "llama-cpp-python", "gguf"),
    *("vllm", "sglang"),
)
_NUMERIC = ("torch", "transformers", "torchao", "peft", *_ENGINES)
_PACKAGES = ("autotune", *_NUMERIC, "optuna", "numpy")


def software() -> dict[str, str]:
    """Versions; of all distributions together, one hash."""
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "os": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: version for name, version in versions.items() if version},
        "plugin_distributions": _plugin_distributions(),
        "packages_sha256": _packages_hash(),
    }


def library_versions() -> dict[str, str]:
    """The libraries that change numbers."""
    return {name: _version(name) for name in _NUMERIC}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _plugin_distributions() -> str:
    """``name version`` of every distribution that offers plugins."""
    entries = importlib.metadata.entry_points(group=GROUP)
    return ", ".join(sorted({f"{e.dist.name} {e.dist.version}" for e in entries if e.dist}))


@functools.cache
def _packages_hash() -> str:
    """Of every ``name==version``, named as package indexes name them."""
    found = {
        f"{re.sub(r'[-_.]+', '-', name).lower()}=={distribution.version}"
        for distribution in importlib.metadata.distributions()
        if (name := distribution.metadata["Name"])
    }
    return sha256_json(sorted(found))[:16]

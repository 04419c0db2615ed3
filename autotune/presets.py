"""Presets: studies for what people most often want, to be named in one word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.errors import InputError, unknown_name

_BATCHES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Preset:
    """Keys of a study file that are taken where the study says nothing else."""

    summary: str
    objectives: tuple[str, ...] | None = None
    """Aims; None takes those of any study."""
    plugins: Mapping[str, Mapping[str, tuple[Any, ...]]] | None = None
    """None takes all."""
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Section → keys."""

    @property
    def keys(self) -> dict[str, Any]:
        """As in a study file."""
        own: dict[str, Any] = {name: dict(values) for name, values in self.more.items()}
        if self.objectives is not None:
            own["objectives"] = list(self.objectives)
        if self.plugins is not None:
            own["plugins"] = {
                name: {param: list(values) for param, values in params.items()}
                for name, params in self.plugins.items()
            }
        return own


def _whole(*names: str) -> dict[str, dict[str, tuple[Any, ...]]]:
    return {name: {} for name in names}


_RECOVERY = {
    "train": ("full",),
    "steps": (200,),
    "learning_rate": (1e-3,),
    "schedule": ("cosine",),
    "accumulation": (1,),
    "clip_norm": (1.0,),
    "dtype": ("float32",),
}
_WITH_KERNELS = {
    "scheme": (
        *("int8_weight_only", "int8_dynamic", "int4_weight_only"),
        *("float8_weight_only", "float8_dynamic"),
    )
}
"""Of quantize: the others save memory, not time."""
_SHRINKING = {"method": ("structured", "depth"), "schedule": ("one_shot",)}
"""Of prune: zeros that are only written save no time, and steps take some."""
_EXACT_OR_NEAR = {
    **_whole("attention", "compile", "precision", "threads", "allocator"),
    "quantize": _WITH_KERNELS,
}

PRESETS: dict[str, Preset] = {
    "latency": Preset(
        "one request at a time, answered as soon as possible",
        ("first_token", "latency", "memory", "accuracy"),
        {
            **_EXACT_OR_NEAR,
            **_whole("speculative"),
            "prune": _SHRINKING,
            "cache": {"kind": ("static",)},
        },
    ),
    "throughput": Preset(
        "as many tokens as possible in the same time, in large batches",
        ("throughput", "memory", "energy", "accuracy"),
        {
            **_EXACT_OR_NEAR,
            **_whole("cache"),
            "prune": _SHRINKING,
            "batch": {"size": _BATCHES},
        },
    ),
    "memory": Preset(
        "the smallest peak of memory that still answers well",
        ("memory", "weights", "throughput", "accuracy"),
        {
            **_whole(
                "precision", "quantize", "embedding", "prune", "cache", "attention", "allocator"
            ),
            "distill": _RECOVERY,
        },
    ),
    "energy": Preset(
        "the least energy per token; needs a meter, or --cpu-watts-per-core",
        ("energy", "throughput", "accuracy"),
        {
            **_EXACT_OR_NEAR,
            **_whole("speculative"),
            "prune": _SHRINKING,
            "batch": {"size": _BATCHES},
        },
    ),
    "edge": Preset(
        "small devices: small on disk and in memory, quick to load, short prompts",
        ("disk", "memory", "latency", "loading", "accuracy"),
        {**_whole("precision", "quantize", "embedding", "prune", "threads"), "distill": _RECOVERY},
        {"workload": {"prompt_tokens": 32, "new_tokens": 32}},
    ),
    "quick": Preset(
        "a first impression: few recipes, short measurements, one repetition",
        plugins={
            **_whole("precision"),
            "prune": _SHRINKING,
            "quantize": _WITH_KERNELS,
            "batch": {"size": (1, 4, 16)},
        },
        more={
            "workload": {"evaluation_positions": 1024},
            "measure": {"block_seconds": 0.2, "max_pairs": 10},
            "confirm": {"points": "picks", "processes": 1, "max_pairs": 8},
            "budget": {"trials": 16, "minutes": 10},
        },
    ),
    "thorough": Preset(
        "everything that is installed, scored on more text and repeated more often",
        more={
            "workload": {"evaluation_positions": 16_384},
            "confirm": {"points": "front", "processes": 5},
            "budget": {"trials": 1000, "minutes": 720, "patience_trials": 100},
        },
    ),
}


def preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        InputError: There is none.
    """
    if name not in PRESETS:
        raise InputError(unknown_name("preset", name, PRESETS))
    return PRESETS[name]


def with_preset(data: Mapping[str, Any]) -> dict[str, Any]:
    """A study's keys, and those of the preset that it names where it has none of its own.

    Args:
        data: The parsed file, or the command line's options.

    Raises:
        InputError: There is no such preset.
    """
    name = data.get("preset")
    if not name or not isinstance(name, str):
        return dict(data)
    return _merged(preset(name).keys, data)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged key by key, all else is taken whole."""
    merged = {**below, **above}
    for name in below.keys() & above.keys() - {"plugins"}:
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            merged[name] = {**below[name], **above[name]}
    return merged

"""The LoRA adapters that a workload's requests ask for, checked before any work starts."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autotune.errors import InputError
from autotune.messages import AdapterFile, ModelRef, Workload
from autotune.workload.model import read_object, weight_shapes

CONFIG, WEIGHTS, PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
"""What peft calls its files."""

_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "init_lora_weights": (True, False, None, "gaussian"),
}
"""Keys of peft's configuration, and their values in which the model's own weights stay as they
are: PiSSA, OLoRA and their like begin from others."""

_OFF: tuple[Any, ...] = (None, False, "", [], {})

_HARMLESS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
"""Keys that may have any value; all others belong to variants, and must be off."""

PREFIX = "base_model.model."
"""Of the names in an adapter's file, before those of the model."""


def read_adapters(folders: Sequence[str], model: ModelRef) -> tuple[AdapterFile, ...]:
    """Finds adapters, checks that they fit the model, and hashes them.

    Args:
        folders: Each as ``peft_model.save_pretrained(folder)`` writes it.
        model: What they were trained on.

    Raises:
        InputError: peft is missing, or an adapter is missing, broken, given twice, no plain LoRA
            or for another model.
    """
    if not folders:
        return ()
    if importlib.util.find_spec("peft") is None:
        raise InputError(
            "workload.traffic.adapters needs the package peft, which is not installed: "
            "pip install 'autotune[adapters]'"
        )
    shapes = weight_shapes(Path(model.path))
    found = tuple(_read(Path(folder).expanduser().resolve(), shapes) for folder in folders)
    paths = [one.path for one in found]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise InputError(f"workload.traffic.adapters: {twice} is given twice; leave one out")
    return found


def refuse_adapters(workload: Workload, why: str) -> None:
    """
    Args:
        workload: A study's.
        why: What cannot be done for it, as a sentence.

    Raises:
        InputError: Its requests ask for adapters.
    """
    if workload.adapters:
        raise InputError(
            f"{why} the study's requests are for LoRA adapters (workload.traffic.adapters); merge "
            "the adapter that you want into the model (peft's merge_and_unload) and search for it"
        )


def _read(folder: Path, shapes: dict[str, tuple[int, ...]]) -> AdapterFile:
    config, weights = _config(folder), folder / WEIGHTS
    for key, value in {**dict.fromkeys(_PLAIN), **config}.items():
        allowed = _PLAIN.get(key, _OFF)
        if key not in _HARMLESS and value not in allowed:
            raise InputError(
                f"{folder / CONFIG}: {key} is {json.dumps(value)}; only plain LoRA adapters are "
                f"served beside one another, where it is {json.dumps(allowed[0])}"
            )
    if not weights.is_file():
        if (folder / PICKLED).exists():
            raise InputError(
                f"{folder} has only {PICKLED}, which can run code when loaded; save the adapter "
                "with peft_model.save_pretrained(folder)"
            )
        raise InputError(
            f"{folder} has no {WEIGHTS}; save the adapter with peft_model.save_pretrained(folder)"
        )
    _check_shapes(folder, config, weight_shapes(folder, WEIGHTS), shapes)
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    digest.update(weights.read_bytes())
    return AdapterFile(name=folder.name, path=str(folder), identity=digest.hexdigest())


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"the adapter {folder} has no {CONFIG}; expected a folder that peft's "
            "save_pretrained has written"
        )
    return read_object(path)


def _check_shapes(
    folder: Path,
    config: dict[str, Any],
    own: dict[str, tuple[int, ...]],
    model: dict[str, tuple[int, ...]],
) -> None:
    """The product of an adapter's two matrices has the shape of the weight that it is added to.

    A weight that the model's files know by another name is left to whoever loads them.
    """
    products = dict(_products(own))
    if not products:
        raise InputError(f"{folder / WEIGHTS} holds no matrices of a LoRA adapter; save it again")
    for name, product in products.items():
        shape = model.get(f"{name}.weight")
        if shape is not None and config.get("fan_in_fan_out"):
            shape = shape[::-1]
        if shape is not None and shape != product:
            raise InputError(
                f"the adapter {folder} is for another model: it changes {name} of shape "
                f"{list(product)}, which is {list(shape)} here"
            )


def _products(own: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple[int, int]]]:
    for key, shape in own.items():
        name, is_second, _ = key.removeprefix(PREFIX).partition(".lora_B.")
        first = own.get(key.replace(".lora_B.", ".lora_A."))
        if is_second and first is not None and len(shape) == len(first) == 2:
            yield name, (shape[0], first[1])

"""A finished model's folder: an ordinary checkpoint where transformers makes the same model of it,
else plain tensors with the structure that they belong into."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from autotune.bench.exported.names import STRUCTURE, WEIGHTS
from autotune.bench.exported.structure import Structure, describe, is_ordinary, rebuild
from autotune.bench.exported.tensors import Tensors
from autotune.bench.exported.values import Damaged, NotPlain
from autotune.errors import InputError
from autotune.plugin import Unsupported

_WRITERS = 4
"""Files that are written at once: each is a copy in memory until it is on disk."""


def write_model(model: Any, kind: Any, folder: Path, max_shard_bytes: int) -> None:
    """Writes configuration and weights.

    Args:
        model: A ``PreTrainedModel`` with all transforms that its files are to hold.
        kind: The transformers class for its task.
        folder: Is there, and may hold other things.
        max_shard_bytes: Of a file of weights that holds more than one tensor.

    Raises:
        Unsupported: It cannot be written as data, and why.
    """
    model.config.save_pretrained(folder)
    parts: Tensors = {}
    try:
        structure = describe(model, build_empty(kind, folder), parts)
        ordinary = is_ordinary(structure, model, build_empty(kind, folder))
    except NotPlain as error:
        raise Unsupported(f"this model cannot be exported: {error}") from error
    if ordinary:
        parts.clear()
        model.save_pretrained(folder, max_shard_size=max_shard_bytes)
        return
    if model.can_generate():
        model.generation_config.save_pretrained(folder)
    structure["files"] = _write_parts(parts, folder, max_shard_bytes)
    (folder / STRUCTURE).write_text(json.dumps(structure), encoding="utf-8")


def _write_parts(parts: Tensors, folder: Path, max_shard_bytes: int) -> dict[str, str]:
    """Returns the file of each tensor."""
    from huggingface_hub import split_torch_state_dict_into_shards
    from safetensors.torch import save_file

    shards = split_torch_state_dict_into_shards(
        parts, filename_pattern=WEIGHTS, max_shard_size=max_shard_bytes
    )

    def write(file: str) -> None:
        held = {name: parts[name] for name in shards.filename_to_tensors[file]}
        save_file(held, folder / file, metadata={"format": "pt"})

    with ThreadPoolExecutor(_WRITERS) as pool:
        list(pool.map(write, shards.filename_to_tensors))  # raises what one of them has raised
    found = {name: file for file, names in shards.filename_to_tensors.items() for name in names}
    absent = parts.keys() - found.keys()
    assert not absent, f"not written: {sorted(absent)}"
    return found


def is_structured(folder: Path) -> bool:
    """Whether a folder holds more than an ordinary checkpoint."""
    return (folder / STRUCTURE).is_file()


def build_empty(kind: Any, folder: Path, attention: str | None = None) -> Any:
    """A model without weights.

    Args:
        kind: The transformers class for its task.
        folder: Holds its configuration.
        attention: How it computes attention, by transformers' name; None is the default.
    """
    from transformers import AutoConfig

    given = {} if attention is None else {"attn_implementation": attention}
    with torch.device("meta"):
        return kind.from_config(AutoConfig.from_pretrained(folder), **given).eval()


def read_model(
    folder: Path, kind: Any, device: str, arguments: dict[str, Any], mapped: bool
) -> Any:
    """The model of a folder that ``is_structured``.

    Args:
        folder: From ``write_model``.
        kind: The transformers class for its task.
        device: Where to, unless the arguments say otherwise.
        arguments: Those of ``from_pretrained`` that plugins ask for.
        mapped: Whether weights stay views of the mapped files, on a CPU.

    Raises:
        Unsupported: There are others than the attention kernel and one device.
        InputError: Its files are damaged.
    """
    from safetensors import SafetensorError, safe_open

    known = dict(arguments)
    skeleton = build_empty(kind, folder, known.pop("attn_implementation", None))
    device = known.pop("device_map", {"": device})[""]
    if known:
        raise Unsupported(
            f"an exported model that transformers alone cannot load takes no {', '.join(known)}"
        )
    try:
        structure: Structure = json.loads((folder / STRUCTURE).read_text(encoding="utf-8"))
        with ExitStack() as stack:
            names = sorted(set(structure["files"].values()))
            if foreign := [name for name in names if Path(name).name != name]:
                raise Damaged(f"it names {foreign[0]}, which is in another folder")
            opened = {
                name: stack.enter_context(safe_open(folder / name, framework="pt"))
                for name in names
            }

            def read(name: str) -> torch.Tensor:
                found: torch.Tensor = opened[structure["files"][name]].get_tensor(name)
                return found.clone() if device == "cpu" and not mapped else found.to(device)

            return rebuild(skeleton, structure, read, device)
    except (
        *(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError),
        *(SafetensorError, Damaged),
    ) as error:
        raise InputError(
            f"{folder} is damaged ({error}); copy it again, or export the trial again"
        ) from error

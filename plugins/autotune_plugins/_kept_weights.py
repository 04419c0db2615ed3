"""Weights that took long to train, kept in a file for the next process; no plugin."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.plugin import Context

if TYPE_CHECKING:
    from torch import Tensor

_NOTE, _DIGEST = "note", "sha256"
"""Keys of the file's metadata: what was said when it was trained, and the hash of its tensors."""


def keep(model: Any, context: Context) -> None:
    """Writes the weights, with the last note, to ``context.artifact``. A file that cannot be
    written is worth a note, not a trial."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    if context.artifact is None:
        return
    weights = _weights(model)
    about = {_NOTE: context.notes[-1], _DIGEST: _digest(weights)}
    unfinished = context.artifact.with_suffix(f".{os.getpid()}.tmp")
    try:
        context.artifact.parent.mkdir(parents=True, exist_ok=True)
        save_file(weights, unfinished, metadata=about)
        os.replace(unfinished, context.artifact)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        context.notes.append(f"the trained weights could not be kept: {error}")


def take_kept(model: Any, context: Context, reshape: Callable[[], None] | None = None) -> bool:
    """Gives the model the weights of ``context.artifact``, if they are there and whole.

    Args:
        model: Of the shapes that were kept.
        context: With the artifact.
        reshape: Gives it these shapes first, if it has others; called only for a whole file.

    Returns:
        Whether it now has them; else it is as it was, but for ``reshape``.

    Raises:
        ValueError: They have other shapes even so.
    """
    from safetensors import SafetensorError

    if context.artifact is None or not context.artifact.exists():
        return False
    try:
        weights, note = _read(context.artifact)
        if reshape is None:
            _check_same_shapes(_weights(model), weights)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        context.notes.append(f"kept weights are damaged ({error}) and were trained again")
        return False
    if reshape is not None:
        reshape()
        _check_same_shapes(_weights(model), weights)
    _copy(model, weights)
    context.notes.append(f"{note} (weights kept from an earlier training)")
    return True


def _weights(model: Any) -> dict[str, Tensor]:
    """Parameters by name, tied ones once."""
    return {name: weight.detach().contiguous() for name, weight in model.named_parameters()}


def _read(file: Path) -> tuple[dict[str, Tensor], str]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        about = opened.metadata() or {}
        weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    if _digest(weights) != about[_DIGEST]:
        raise ValueError("its tensors are not those that were written")
    return weights, about[_NOTE]


def _check_same_shapes(mine: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    here, there = (
        {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
        for weights in (mine, kept)
    )
    if here != there:
        raise ValueError("they are of another model")


def _copy(model: Any, weights: Mapping[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(weights[name])
            weight.requires_grad_(False)


def _digest(weights: Mapping[str, Tensor]) -> str:
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].reshape(-1).view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()

"""Tensors of any class as plain ones with a description, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from autotune.bench.exported.values import (
    Damaged,
    NotPlain,
    decode,
    encode,
    find_class,
    name_of,
)

Tensors = dict[str, torch.Tensor]
"""Plain, contiguous tensors by name."""

Description = dict[str, Any]
"""How plain tensors make up another one; JSON."""


def take_apart(name: str, tensor: torch.Tensor, parts: Tensors) -> Description:
    """Puts a tensor's plain parts among those that are to be saved.

    Args:
        name: Of the tensor; its parts' names begin with it.
        tensor: A parameter's data, or a buffer.
        parts: Is added to.

    Returns:
        For ``put_together``.

    Raises:
        NotPlain: It is of a class that cannot be taken apart, or holds what is no plain data.
    """
    if type(tensor) is torch.Tensor:
        return _take_plain(name, tensor, parts)
    flatten = getattr(tensor, "__tensor_flatten__", None)
    if flatten is None:
        raise NotPlain(f"{name} is a {type(tensor).__name__}, which cannot be taken apart")
    attributes, context = flatten()
    made = {a: take_apart(f"{name}.{a}", getattr(tensor, a), parts) for a in attributes}
    return {
        "class": name_of(type(tensor)),
        "context": encode(context),
        "size": list(tensor.size()),
        "stride": list(tensor.stride()),
        "parts": made,
    }


def _take_plain(name: str, tensor: torch.Tensor, parts: Tensors) -> Description:
    if tensor.layout is not torch.strided or tensor.is_meta:
        where = "on no device" if tensor.is_meta else str(tensor.layout)
        raise NotPlain(f"{name} is stored as {where}, which safetensors does not hold")
    # Kernels may want the order of dimensions in memory that the weight has.
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda d: (-strides[d], d))
    stored = tensor.detach().permute(order).contiguous()
    if stored.untyped_storage().nbytes() != stored.nbytes:
        stored = stored.clone()  # a view: what it does not show stays behind
    parts[name] = stored
    return {"order": order} if order != list(range(tensor.dim())) else {}


def put_together(
    name: str, made: Description, read: Callable[[str], torch.Tensor], device: str
) -> torch.Tensor:
    """The tensor that ``take_apart`` was given.

    Args:
        name: Of the tensor.
        made: From ``take_apart``.
        read: A plain tensor by its name, on the device.
        device: Where it is.

    Raises:
        Damaged: The parts do not make up such a tensor.
    """
    if "class" not in made:
        order = made.get("order")
        stored = read(name)
        if order is None:
            return stored
        return stored.permute([order.index(d) for d in range(stored.dim())])
    kind = find_class(made["class"], torch.Tensor)
    if not hasattr(kind, "__tensor_unflatten__"):
        raise Damaged(f"{made['class']} cannot be put together")
    parts = {a: put_together(f"{name}.{a}", d, read, device) for a, d in made["parts"].items()}
    context = decode(made["context"], device)
    size, stride = torch.Size(made["size"]), tuple(made["stride"])
    whole: torch.Tensor = kind.__tensor_unflatten__(parts, context, size, stride)
    return whole


def is_plain(made: Description) -> bool:
    """Whether it is an ordinary tensor in the ordinary order."""
    return not made

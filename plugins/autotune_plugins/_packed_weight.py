"""A linear layer's weight as integers of 2 to 8 bits, several in a byte; no plugin.

Only functions import this module: it needs torch from its first line, and a class that checkpoints
name must be found in a module.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchao.utils import TorchAOBaseTensor

_WIDTHS = (8, 4, 2, 1)
"""Bits that fill whole bytes: a code of 3 bits is stored as its lower 2 and its upper 1."""


class PackedWeight(TorchAOBaseTensor):  # type: ignore[misc]
    """``weight = (code - zero) * scale``, each group of neighbours along the input with a scale.

    torchao has the same numbers (IntxUnpackedToInt8Tensor), a byte for each. This form is small,
    not fast: each call of the linear unpacks all of it.
    """

    tensor_data_names = ["packed", "scale"]
    tensor_attribute_names = ["bits", "form", "number_format", "int8_activations"]
    optional_tensor_data_names = ["zero"]

    packed: Tensor
    """uint8 ``[out, in * bits / 8]``."""
    scale: Tensor
    """bfloat16 ``[out, groups]``."""
    zero: Tensor | None
    """uint8 ``[out, groups]``; None puts it in the middle of the codes."""
    bits: int
    form: list[int]
    """``[out, in]``."""
    number_format: torch.dtype
    """Of what comes out."""
    int8_activations: bool
    """Whether inputs are quantized as well, and products computed in int8."""

    def __new__(
        cls,
        packed: Tensor,
        scale: Tensor,
        bits: int,
        form: list[int],
        number_format: torch.dtype,
        int8_activations: bool,
        zero: Tensor | None = None,
    ) -> PackedWeight:
        made: PackedWeight = torch.Tensor._make_wrapper_subclass(
            cls, form, dtype=number_format, device=packed.device
        )
        made.packed, made.scale, made.zero = packed, scale, zero
        made.bits, made.form, made.number_format = bits, form, number_format
        made.int8_activations = int8_activations
        return made

    def __init__(self, *parts: Any, **optional: Any) -> None:
        super().__init__()

    def dequantize(self) -> Tensor:
        """The weight that the codes stand for, ``[out, in]``."""
        dtype = self.number_format
        codes = unpack(self.packed, self.bits).view(*self.scale.shape, -1).to(dtype)
        middle = 2 ** (self.bits - 1) if self.zero is None else self.zero.to(dtype).unsqueeze(-1)
        return ((codes - middle) * self.scale.to(dtype).unsqueeze(-1)).view(self.form)


def pack(codes: Tensor, bits: int) -> Tensor:
    """Puts several codes into each byte.

    Args:
        codes: uint8 ``[out, in]`` below ``2 ** bits``; ``in`` is divisible by 8.
        bits: 1 to 8.

    Returns:
        uint8 ``[out, in * bits / 8]``.
    """
    planes, rest = [], codes
    for width in _widths(bits):
        parts = (rest & (2**width - 1)).chunk(8 // width, dim=1)
        planes.append(sum((part << width * i for i, part in enumerate(parts)), parts[0] * 0))
        rest = rest >> width if width < 8 else rest
    return torch.cat(planes, dim=1)


def unpack(packed: Tensor, bits: int) -> Tensor:
    """What ``pack`` was given.

    Args:
        packed: uint8 ``[out, in * bits / 8]``.
        bits: As they were packed.
    """
    widths = _widths(bits)
    columns = packed.shape[1] * 8 // bits
    found, shift = None, 0
    planes = packed.split_with_sizes([columns * width // 8 for width in widths], 1)
    for width, plane in zip(widths, planes, strict=True):
        parts = [plane >> width * i & (2**width - 1) for i in range(8 // width)]
        part = torch.cat(parts, dim=1) << shift
        found, shift = part if found is None else found | part, shift + width
    assert found is not None
    return found


def _widths(bits: int) -> list[int]:
    return [width for width in _WIDTHS if bits & width]


def _int8_product(tokens: Tensor, weight: PackedWeight) -> Tensor:
    """Multiplies in int8, group by group, as each has a scale of its own.

    Args:
        tokens: ``[tokens, in]``.
        weight: ``[out, in]``.

    Returns:
        float32 ``[tokens, out]``.
    """
    groups, middle = weight.scale.shape[1], 2 ** (weight.bits - 1)
    scale = weight.scale.float()
    steps = tokens.float().abs().amax(1, keepdim=True).clamp(min=1e-9) / 127
    left = (tokens / steps).round().to(torch.int8).chunk(groups, 1)
    right = (unpack(weight.packed, weight.bits).int() - middle).to(torch.int8).chunk(groups, 1)
    total = torch.zeros(len(tokens), len(scale), device=tokens.device)
    for index, (x, w) in enumerate(zip(left, right, strict=True)):
        total += torch._int_mm(x.contiguous(), w.t()) * scale[:, index]
    if weight.zero is not None:
        sums = torch.stack([x.sum(1) for x in left], 1).float()
        total -= sums @ (scale * (weight.zero.float() - middle)).t()
    return total * steps


def _linear(function: Any, types: Any, args: Any, kwargs: Any) -> Tensor:
    tokens, weight, bias = (*args, None)[:3]
    bias = kwargs.get("bias", bias)
    if not weight.int8_activations:
        return functional.linear(tokens, weight.dequantize(), bias)
    product = _int8_product(tokens.reshape(-1, tokens.shape[-1]), weight).to(tokens.dtype)
    product = product.view(*tokens.shape[:-1], -1)
    return product if bias is None else product + bias


PackedWeight.implements(torch.ops.aten.linear.default)(_linear)
PackedWeight.implements_torch_function(functional.linear)(_linear)
torch.serialization.add_safe_globals([PackedWeight])

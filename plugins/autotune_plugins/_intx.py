"""Linear layers in 2 to 8 bits: rounded, packed, and held to it; no plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autotune.params import Params
from autotune.plugin import Context, Unsupported
from autotune_plugins._gptq import gptq
from autotune_plugins._hessians import hessians, layers_of
from autotune_plugins._mixed_bits import choose_bits
from autotune_plugins._rounding import Format, Grid, fit_grid
from autotune_plugins._torchao import quiet_torchao

if TYPE_CHECKING:
    from torch import Tensor, nn

Formats = Mapping["nn.Linear", Format]

_CODES_PER_BYTE = 8
"""Inputs must be divisible by it: a plane of single bits fills bytes."""
_KERNEL_GROUPS = (32, 64, 128)


@dataclass(frozen=True)
class Wanted:
    """What is asked of every linear alike."""

    group_size: int
    """At most so many neighbours share a scale."""
    symmetric: bool
    calibrated: bool
    """Whether GPTQ rounds the weights."""
    int8_activations: bool

    def format(self, linear: nn.Linear, bits: int) -> Format:
        """How that linear is stored: in the largest groups of equal size that are allowed."""
        sizes = range(min(self.group_size, linear.in_features), 0, -1)
        size = next(size for size in sizes if linear.in_features % size == 0)
        return Format(bits, size, self.symmetric)


def pack_linears(
    model: Any, linears: list[nn.Linear], params: Params, context: Context
) -> list[nn.Linear]:
    """Replaces weights by their rounded and packed form.

    Args:
        model: A ``PreTrainedModel``.
        linears: Of the model.
        params: Those of quantize, with a scheme of packed weights.
        context: Its calibration text is what GPTQ rounds for, and sensitivity is measured on.

    Returns:
        The linears that were fit for it.
    """
    wanted = Wanted(
        int(params["group_size"]),
        symmetric=bool(params.get("symmetric", False)),
        calibrated=params["rounding"] == "gptq",
        int8_activations=params.get("activations") == "int8",
    )
    fit = _fit(linears, wanted, context)
    if not fit:
        raise Unsupported(f"{type(model).__name__} has no linear layer that can be packed")
    formats = _formats(model, fit, wanted, params, context)
    rounded = _calibrated(model, formats, context) if wanted.calibrated else _nearest(formats)
    for linear, codes, grid in rounded:
        _hold(linear, codes, grid, wanted.int8_activations)
    return fit


def _fit(linears: list[nn.Linear], wanted: Wanted, context: Context) -> list[nn.Linear]:
    """Those that whole bytes can hold; says which stay and which get other groups than asked."""
    fit = [linear for linear in linears if linear.in_features % _CODES_PER_BYTE == 0]
    if len(fit) < len(linears):
        context.notes.append(
            f"{len(linears) - len(fit)} of {len(linears)} linears stay as they are: "
            f"their inputs are not divisible by {_CODES_PER_BYTE}"
        )
    smaller = [x for x in fit if wanted.format(x, 8).group_size < wanted.group_size]
    if smaller:
        context.notes.append(
            f"{len(smaller)} of {len(linears)} linears have smaller groups, of equal size: "
            f"their inputs are not divisible by the group of {wanted.group_size}"
        )
    return fit


def _formats(
    model: Any, linears: list[nn.Linear], wanted: Wanted, params: Params, context: Context
) -> Formats:
    if params["scheme"] == "intx":
        return {linear: wanted.format(linear, int(params["weight_bits"])) for linear in linears}

    def rounded(linear: nn.Linear, bits: int) -> Tensor:
        weight = linear.weight.detach()
        grid = fit_grid(weight.float(), wanted.format(linear, bits))
        return grid.values(grid.codes(weight.float())).to(weight.dtype)

    bits = choose_bits(model, linears, rounded, int(params["target_bits"]), context)
    return {linear: wanted.format(linear, count) for linear, count in bits.items()}


def _nearest(formats: Formats) -> Iterator[tuple[nn.Linear, Tensor, Grid]]:
    for linear, format in formats.items():
        weight = linear.weight.detach().float()
        grid = fit_grid(weight, format)
        yield linear, grid.codes(weight), grid


def _calibrated(
    model: Any, formats: Formats, context: Context
) -> Iterator[tuple[nn.Linear, Tensor, Grid]]:
    """Layer by layer: whoever takes the results stores them, and the next layer sees them."""
    unseen = 0
    for layer, linears in layers_of(model, list(formats)):
        for linear, hessian in hessians(model, layer, linears, context.calibration):
            unseen += not hessian.any()
            codes, grid = gptq(linear.weight.detach().float(), hessian, formats[linear])
            yield linear, codes, grid
    if unseen:
        context.notes.append(
            f"{unseen} of {len(formats)} linears were rounded to the nearest: "
            "no calibration text reaches them"
        )


def _hold(linear: nn.Linear, codes: Tensor, grid: Grid, int8_activations: bool) -> None:
    import torch

    tensor = None
    if grid.format.bits == 4 and not int8_activations:
        tensor = _for_the_int4_kernel(linear.weight, codes, grid)
    if tensor is None:
        tensor = _packed(linear.weight, codes, grid, int8_activations)
    linear.weight = torch.nn.Parameter(tensor, requires_grad=False)


def _packed(weight: Tensor, codes: Tensor, grid: Grid, int8_activations: bool) -> Tensor:
    import torch

    with quiet_torchao():
        from autotune_plugins._packed_weight import PackedWeight, pack

    return PackedWeight(
        pack(codes.to(torch.uint8), grid.format.bits),
        grid.scale.bfloat16(),
        grid.format.bits,
        list(weight.shape),
        weight.dtype,
        int8_activations,
        None if grid.format.symmetric else grid.zero.to(torch.uint8),
    )


def _for_the_int4_kernel(weight: Tensor, codes: Tensor, grid: Grid) -> Tensor | None:
    """torchao's form for torch's own kernel, where there is one: on CPUs, in bfloat16."""
    import torch

    fits = grid.format.group_size in _KERNEL_GROUPS and len(weight) % 16 == 0
    if not fits or weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return None
    with quiet_torchao():
        try:
            # A prototype as of torchao 0.18.
            from torchao.prototype.quantization.int4 import Int4OpaqueTensor
        except ImportError:
            return None
    # The kernel computes (code - 8) * scale + zero.
    zero = (8 - grid.zero) * grid.scale
    both = torch.stack([grid.scale, zero], dim=-1).bfloat16().transpose(0, 1).contiguous()
    packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
    made: Tensor = Int4OpaqueTensor(packed, both, [1, grid.format.group_size], weight.shape)
    return made

"""Weights as whole multiples of a step, each group of neighbours with its own; no plugin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SHRINKS = tuple(1 - 0.03 * i for i in range(20))
"""Parts of a group's range that its codes may span: a few clipped weights cost less than coarse
steps for all others."""


@dataclass(frozen=True)
class Format:
    """How one weight matrix is stored."""

    bits: int
    group_size: int
    """Neighbours along the input that share a step; divides the inputs."""
    symmetric: bool
    """Whether zero is the middle code of every group; else each group has its own."""


@dataclass(frozen=True)
class Grid:
    """The values that the weights of one matrix may take: ``(code - zero) * scale``."""

    format: Format
    scale: Tensor
    """float32 ``[out, groups]``, of which each is a bfloat16 number."""
    zero: Tensor
    """float32 ``[out, groups]`` of whole numbers."""

    def codes(self, weight: Tensor) -> Tensor:
        """The nearest codes, as float32 ``[out, in]``."""
        grouped = weight.view(*self.scale.shape, -1)
        return _codes(grouped, self.scale, self.zero, self.format.bits).view(weight.shape)

    def values(self, codes: Tensor) -> Tensor:
        """What codes stand for, float32 ``[out, in]``."""
        grouped = codes.view(*self.scale.shape, -1)
        return _values(grouped, self.scale, self.zero).view(codes.shape)


def fit_grid(weight: Tensor, format: Format, importance: Tensor | None = None) -> Grid:
    """Chooses each group's range by the squared error of rounding to the nearest code.

    Args:
        weight: float32 ``[out, in]``.
        format: Its groups divide the inputs.
        importance: float32 ``[in]``: how much an error of each input's weights counts; None for
            all the same.
    """
    import torch

    grouped = weight.view(len(weight), -1, format.group_size)
    counts = torch.ones_like(weight[0]) if importance is None else importance
    counts = counts.view(1, -1, format.group_size)
    low, high = grouped.amin(-1).clamp(max=0), grouped.amax(-1).clamp(min=0)
    if format.symmetric:
        high = torch.maximum(-low, high)
        low = -high
    best = torch.full_like(low, float("inf"))
    chosen_scale, chosen_zero = torch.ones_like(low), torch.zeros_like(low)
    for shrink in _SHRINKS:
        scale, zero = _grid(low * shrink, high * shrink, format)
        rounded = _values(_codes(grouped, scale, zero, format.bits), scale, zero)
        error = ((rounded - grouped).square() * counts).sum(-1)
        better = error < best
        best = torch.where(better, error, best)
        chosen_scale = torch.where(better, scale, chosen_scale)
        chosen_zero = torch.where(better, zero, chosen_zero)
    return Grid(format, chosen_scale, chosen_zero)


def _grid(low: Tensor, high: Tensor, format: Format) -> tuple[Tensor, Tensor]:
    import torch

    steps = 2**format.bits - 1
    # As stored: codes are chosen by the scale that will be multiplied with.
    scale = ((high - low) / steps).bfloat16().float()
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    if format.symmetric:
        return scale, torch.full_like(scale, 2 ** (format.bits - 1))
    return scale, (-low / scale).round().clamp(0, steps)


def _codes(grouped: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
    return (grouped / scale.unsqueeze(-1) + zero.unsqueeze(-1)).round().clamp(0, 2**bits - 1)


def _values(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    return (codes - zero.unsqueeze(-1)) * scale.unsqueeze(-1)

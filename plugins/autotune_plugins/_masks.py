"""Pruning that sets single weights to zero; no plugin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from autotune.plugin import Context, Unsupported
from autotune_plugins._importance import input_norms
from autotune_plugins._layers import stacked_linears

if TYPE_CHECKING:
    from torch import Tensor, nn

Scales = Mapping["nn.Linear", "Tensor | float"]
"""What the size of each linear's weights is multiplied by, to score them."""


def magnitude_scales(model: Any) -> Scales:
    """The smallest weights matter least."""
    return dict.fromkeys(_linears(model), 1.0)


def wanda_scales(model: Any, context: Context) -> Scales:
    """The score of Wanda (Sun et al., 2023): ``|weight| * L2 norm of the input feature``. Linears
    that the model never calls are left out."""
    linears = _linears(model)
    norms = input_norms(model, linears, context.calibration)
    return {linear: norm for linear, norm in zip(linears, norms, strict=True) if norm.any()}


def mask_lowest(scales: Scales, ratios: Mapping[nn.Linear, float]) -> None:
    """Zeroes the weights of the lowest scores, a share of every output row.

    Args:
        scales: For the scores.
        ratios: The share for each linear that is to be masked.
    """
    for linear, ratio in ratios.items():
        score = _score(linear, scales[linear])
        count = round(ratio * linear.in_features)
        _zero(linear, score.argsort(dim=-1)[..., :count], score.shape)


def mask_two_of_four(model: Any, context: Context) -> None:
    """Zeroes two of every four neighbours along the input, by the score of Wanda."""
    for linear, scale in wanda_scales(model, context).items():
        if linear.in_features % 4:
            context.notes.append(f"left dense: a linear with {linear.in_features} inputs")
            continue
        in_fours = _score(linear, scale).view(linear.out_features, -1, 4)
        _zero(linear, in_fours.argsort(dim=-1)[..., :2], in_fours.shape)


def _linears(model: Any) -> list[nn.Linear]:
    linears = stacked_linears(model)
    if not linears:
        raise Unsupported(f"{type(model).__name__} has no torch.nn.Linear in its layers to prune")
    return linears


def _score(linear: nn.Linear, scale: Tensor | float) -> Tensor:
    return linear.weight.detach().float().abs() * scale


def _zero(linear: nn.Linear, indices: Tensor, shape: tuple[int, ...]) -> None:
    import torch

    with torch.no_grad():
        linear.weight.view(shape).scatter_(-1, indices, 0)

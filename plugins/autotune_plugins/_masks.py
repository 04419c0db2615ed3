"""Pruning that sets single weights to zero; no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autotune.plugin import Context, Unsupported
from autotune_plugins._importance import input_norms
from autotune_plugins._layers import stacked_linears

if TYPE_CHECKING:
    from torch import Tensor, nn


def mask_by_magnitude(model: Any, ratio: float) -> None:
    """Zeroes the smallest weights of every output row."""
    for linear in _linears(model):
        _zero_lowest(linear, linear.weight.detach().float().abs(), ratio)


def mask_by_wanda(model: Any, ratio: float, context: Context) -> None:
    """Zeroes the weights of every output row that move its output least.

    The score of Wanda (Sun et al., 2023): ``|weight| * L2 norm of the input feature``.
    """
    for linear, score in _wanda_scores(model, context):
        _zero_lowest(linear, score, ratio)


def mask_two_of_four(model: Any, context: Context) -> None:
    """Zeroes two of every four neighbours along the input, by the score of Wanda."""
    for linear, score in _wanda_scores(model, context):
        if linear.in_features % 4:
            context.notes.append(f"left dense: a linear with {linear.in_features} inputs")
            continue
        in_fours = score.view(linear.out_features, -1, 4)
        _zero(linear, in_fours.argsort(dim=-1)[..., :2], in_fours.shape)


def _linears(model: Any) -> list[nn.Linear]:
    linears = stacked_linears(model)
    if not linears:
        raise Unsupported(f"{type(model).__name__} has no torch.nn.Linear in its layers to prune")
    return linears


def _wanda_scores(model: Any, context: Context) -> list[tuple[nn.Linear, Tensor]]:
    linears = _linears(model)
    norms = input_norms(model, linears, context.calibration)
    return [
        (linear, linear.weight.detach().float().abs() * norm)
        for linear, norm in zip(linears, norms, strict=True)
        if norm.any()
    ]


def _zero_lowest(linear: nn.Linear, score: Tensor, ratio: float) -> None:
    count = round(ratio * linear.in_features)
    _zero(linear, score.argsort(dim=-1)[..., :count], score.shape)


def _zero(linear: nn.Linear, indices: Tensor, shape: tuple[int, ...]) -> None:
    import torch

    with torch.no_grad():
        linear.weight.view(shape).scatter_(-1, indices, 0)

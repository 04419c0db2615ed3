"""Cutting rows and columns out of linears, and judging by which; no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn


def column_norms(linear: nn.Linear) -> Tensor:
    """The L2 norm of each input feature's weights, float32 ``[in_features]``."""
    import torch

    norms: Tensor = torch.linalg.vector_norm(linear.weight.detach().float(), dim=0)
    return norms


def highest(scores: Tensor, count: int) -> Tensor:
    """The indices of the highest scores, in order."""
    import torch

    return torch.sort(scores.topk(count).indices).values


def keep_rows(linear: nn.Linear, kept: Tensor) -> None:
    """Removes all other outputs of a linear."""
    linear.weight = _like(linear.weight, linear.weight[kept])
    if linear.bias is not None:
        linear.bias = _like(linear.bias, linear.bias[kept])
    linear.out_features = len(kept)


def keep_columns(linear: nn.Linear, kept: Tensor) -> None:
    """Removes all other inputs of a linear."""
    linear.weight = _like(linear.weight, linear.weight[:, kept])
    linear.in_features = len(kept)


def _like(old: Tensor, values: Tensor) -> nn.Parameter:
    """A parameter that can be trained if the old one could: distillation may follow."""
    from torch.nn import Parameter

    return Parameter(values.detach().contiguous(), requires_grad=old.requires_grad)

"""Rounding that makes up for its own errors, column by column; no plugin.

GPTQ (Frantar et al., 2022): the error of each column is spread over those not yet rounded, by
the inverse of the Hessian of the layer's squared output error. Columns go by falling importance,
and each keeps the grid of the group in which it is stored, as in the authors' own code with
``act_order`` and ``static_groups``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autotune_plugins._rounding import Format, Grid, fit_grid

if TYPE_CHECKING:
    from torch import Tensor

_DAMPING = 0.01
"""Part of the Hessian's mean diagonal that is added to all of it, as in the paper."""
_BLOCK = 128
"""Columns after which their errors reach all others: one large product in place of many."""


def gptq(weight: Tensor, hessian: Tensor, format: Format) -> tuple[Tensor, Grid]:
    """Rounds one matrix for the inputs that it gets.

    Args:
        weight: float32 ``[out, in]``; zeros stay, pruning may have made them.
        hessian: float32 ``[in, in]``: the sum over tokens of the inputs' outer products.
        format: Its groups divide the inputs.

    Returns:
        Codes, float32 ``[out, in]``, and the grid that they belong to.
    """
    damped = _damped(hessian)
    grid = fit_grid(weight, format, importance=damped.diagonal().float())
    order = damped.diagonal().argsort(descending=True, stable=True)
    group = order // format.group_size
    codes = _round_in_order(
        weight[:, order].clone(),
        _inverse_factor(damped[order][:, order]),
        (grid.scale[:, group], grid.zero[:, group]),
        2**format.bits - 1,
    )
    return codes[:, order.argsort()], grid


def _damped(hessian: Tensor) -> Tensor:
    """In float64: features of very different sizes leave float32 no positive diagonal."""
    damped = hessian.double()
    mean = damped.diagonal().mean()
    # A linear that no token has reached is rounded to the nearest.
    damped.diagonal().add_(_DAMPING * mean if mean > 0 else 1.0)
    return damped


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse, float32."""
    import torch

    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian))
    factor: Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor.float()


def _round_in_order(
    weight: Tensor, factor: Tensor, grid: tuple[Tensor, Tensor], last_code: int
) -> Tensor:
    """Overwrites the weight; the grid's scale and zero are given for each column."""
    import torch

    scale, zero = grid
    codes, pruned = torch.empty_like(weight), weight == 0
    for begin in range(0, weight.shape[1], _BLOCK):
        end = min(begin + _BLOCK, weight.shape[1])
        errors = torch.empty_like(weight[:, begin:end])
        for column in range(begin, end):
            own = weight[:, column]
            code = (own / scale[:, column] + zero[:, column]).round().clamp(0, last_code)
            code = torch.where(pruned[:, column], zero[:, column], code)
            value = (code - zero[:, column]) * scale[:, column]
            error = (own - value) / factor[column, column]
            weight[:, column:end] -= torch.outer(error, factor[column, column:end])
            codes[:, column], errors[:, column - begin] = code, error
        weight[:, end:] -= errors @ factor[begin:end, end:]
    return codes

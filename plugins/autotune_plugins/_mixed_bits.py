"""Which linear gets how many bits, by what rounding it alone does to the outputs; no plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autotune.plugin import Context
from autotune_plugins._importance import batches_on

if TYPE_CHECKING:
    from torch import Tensor, nn

OPTIONS = (2, 3, 4, 8)
"""Bits that a linear may get."""

Rounded = Callable[["nn.Linear", int], "Tensor"]
"""A linear's weight as it would be with so many bits."""


def choose_bits(
    model: Any, linears: Sequence[nn.Linear], rounded: Rounded, average: float, context: Context
) -> dict[nn.Linear, int]:
    """Measures each linear's sensitivity and spends the bits where they matter most.

    Args:
        model: A ``PreTrainedModel``, not yet quantized.
        linears: Those that share the bits.
        rounded: How they would be stored.
        average: Bits per weight over all of them that must not be exceeded.
        context: Calibration text and task; is told the choice.
    """
    losses = measure_losses(model, linears, rounded, context)
    sizes = [linear.weight.numel() for linear in linears]
    bits = dict(zip(linears, allocate(losses, sizes, average), strict=True))
    worst = max(zip(losses, linears, strict=True), key=lambda pair: pair[0][0])[1]
    context.notes.append(_words(model, bits, worst))
    return bits


def measure_losses(
    model: Any, linears: Sequence[nn.Linear], rounded: Rounded, context: Context
) -> list[list[float]]:
    """Rounds one linear at a time and compares the outputs with those of the whole model.

    Returns:
        For each linear and each of ``OPTIONS``: the mean divergence in nats of a token's (or a
        text's) distribution, or for an encoder the relative squared error of its hidden states.
    """
    import torch

    divergence = _squared_error if context.task == "feature-extraction" else _divergence
    # One batch: there is a pass for each linear and each number of bits.
    ((batch, real),) = batches_on(model, context.calibration[:1])

    def outputs() -> Tensor:
        found: Tensor = model(**batch)[0]
        return (found[real] if found.dim() == 3 else found).float()  # a classifier has no tokens

    with torch.no_grad():
        reference = outputs()
        losses = []
        for linear in linears:
            weights = (rounded(linear, bits) for bits in OPTIONS)
            losses.append([divergence(reference, _with(linear, w, outputs)) for w in weights])
    return losses


def _divergence(reference: Tensor, changed: Tensor) -> float:
    from torch.nn.functional import kl_div, log_softmax

    own, other = log_softmax(reference, -1), log_softmax(changed, -1)
    return float(kl_div(other, own, reduction="batchmean", log_target=True))


def _squared_error(reference: Tensor, changed: Tensor) -> float:
    return float((changed - reference).square().sum() / reference.square().sum())


def _with(linear: nn.Linear, weight: Tensor, outputs: Callable[[], Tensor]) -> Tensor:
    own = linear.weight.data
    linear.weight.data = weight
    try:
        return outputs()
    finally:
        linear.weight.data = own


def allocate(losses: Sequence[Sequence[float]], sizes: Sequence[int], average: float) -> list[int]:
    """The choice of least summed loss whose bits per weight stay within an average.

    A knapsack of several choices, solved exactly. Losses of single linears are taken to add up.

    Args:
        losses: Of each linear, for each of ``OPTIONS``.
        sizes: Weights of each linear.
        average: At least the fewest bits of ``OPTIONS``.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    count, ways = len(sizes), len(OPTIONS)
    one_each = np.kron(np.eye(count), np.ones(ways))
    spent = np.kron(np.array(sizes) / sum(sizes), OPTIONS)
    found = milp(
        np.ravel(losses) / max(np.max(losses), 1e-30),
        integrality=np.ones(count * ways, dtype=int),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(spent, ub=average + 1e-9),
        ],
        options={"mip_rel_gap": 0},
    )
    if found.x is None:
        raise RuntimeError(f"no bits for an average of {average}: {found.message}")
    return [OPTIONS[way] for way in found.x.reshape(count, ways).argmax(axis=1)]


def average_bits(bits: Mapping[nn.Linear, int]) -> float:
    """Bits per weight, scales left out."""
    weights = {linear: linear.in_features * linear.out_features for linear in bits}
    return sum(bits[linear] * count for linear, count in weights.items()) / sum(weights.values())


def _words(model: Any, bits: Mapping[nn.Linear, int], worst: nn.Linear) -> str:
    counts = list(bits.values())
    shares = ", ".join(f"{counts.count(c)} with {c}" for c in OPTIONS if c in counts)
    name = next(name for name, module in model.named_modules() if module is worst)
    return (
        f"linears by bits: {shares}; {average_bits(bits):.2f} on average; "
        f"the most sensitive is {name} with {bits[worst]}"
    )

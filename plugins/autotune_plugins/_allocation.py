"""How much each layer loses when not all lose alike; no plugin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from autotune.plugin import Context
from autotune_plugins._importance import batches_on
from autotune_plugins._layers import stacked_by_layer
from autotune_plugins._masks import Scales, mask_lowest

if TYPE_CHECKING:
    from torch import Tensor, nn


def ratios_by_sensitivity(
    model: Any, scales: Scales, ratio: float, context: Context
) -> dict[nn.Linear, float]:
    """Gives layers that matter less a higher ratio; the weights that go are as many as without.

    A layer's sensitivity is what masking it alone does to the model's last hidden states on
    calibration text.

    Args:
        model: Not pruned yet; it is as before afterwards.
        scales: How weights are scored.
        ratio: Of all weights that ``scales`` names.
        context: With the calibration text.
    """
    layers = [
        found
        for layer in stacked_by_layer(model)
        if (found := [linear for linear in layer if linear in scales])
    ]
    original = _hidden_states(model, context)
    damages = [_damage(model, layer, scales, ratio, original, context) for layer in layers]
    sizes = [sum(linear.weight.numel() for linear in layer) for layer in layers]
    ratios = allocate(ratio, damages, sizes)
    words = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    context.notes.append(f"ratios of the layers, by sensitivity: {words}")
    return {linear: own for layer, own in zip(layers, ratios, strict=True) for linear in layer}


def allocate(ratio: float, damages: Sequence[float], sizes: Sequence[int]) -> list[float]:
    """Ratios for the layers, whose mean by size is ``ratio``, at the least sum of damages.

    Where the smallest weights go and these lie evenly around zero, the squared error grows with
    the third power of a layer's ratio, so that the sum of ``damage * (own / ratio) ** 3`` is least
    where each own ratio is in proportion to ``sqrt(size / damage)``. None goes beyond halfway
    from ``ratio`` to 1.

    Args:
        ratio: Of all weights; 0 to 1.
        damages: For each layer what that ratio does.
        sizes: Weights of each layer.
    """
    most, total = (1 + ratio) / 2, ratio * sum(sizes)
    # Layers without any damage would take all: a millionth of the worst is as good as none.
    least = max(max(damages) * 1e-6, 1e-30)
    pull = [
        math.sqrt(size / max(damage, least)) for damage, size in zip(damages, sizes, strict=True)
    ]
    own = [0.0] * len(sizes)
    free = set(range(len(sizes)))
    while free:
        left = total - sum(own[i] * sizes[i] for i in range(len(sizes)) if i not in free)
        factor = left / sum(pull[i] * sizes[i] for i in free)
        full = {i for i in free if factor * pull[i] > most}
        for i in free:
            own[i] = most if i in full else factor * pull[i]
        if not full:
            break
        free -= full
    return own


def _damage(
    model: Any,
    layer: Sequence[nn.Linear],
    scales: Scales,
    ratio: float,
    original: Sequence[Tensor],
    context: Context,
) -> float:
    """Squared error of the last hidden states over their squares, with only this layer masked."""
    kept = [linear.weight.detach().clone() for linear in layer]
    mask_lowest(scales, dict.fromkeys(layer, ratio))
    changed = _hidden_states(model, context)
    for linear, weight in zip(layer, kept, strict=True):
        linear.weight.data.copy_(weight)
    error = sum(float((c - o).square().sum()) for c, o in zip(changed, original, strict=True))
    return error / sum(float(o.square().sum()) for o in original)


def _hidden_states(model: Any, context: Context) -> list[Tensor]:
    import torch

    with torch.no_grad():
        return [
            model.base_model(**batch).last_hidden_state[real].float()
            for batch, real in batches_on(model, context.calibration)
        ]

"""What enters the linears of one layer on calibration text; no plugin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from autotune_plugins._importance import Batches, batches_on, removed_after

if TYPE_CHECKING:
    from torch import Tensor, nn


class _SeenEnough(Exception):
    """Ends a pass after the layer that was watched."""


def layers_of(
    model: Any, linears: Sequence[nn.Linear]
) -> Iterator[tuple[nn.Module | None, list[nn.Linear]]]:
    """Groups linears by the layer that holds them, in the order of computation.

    Yields:
        A layer and its linears; at the end None and those that are in no stack of layers.
    """
    from torch import nn

    left = dict.fromkeys(linears)
    for stack in model.modules():
        for layer in stack if isinstance(stack, nn.ModuleList) else ():
            # Stacks within a layer, of experts say, come later and find nothing left.
            found = [module for module in layer.modules() if module in left]
            for linear in found:
                del left[linear]
            if found:
                yield layer, found
    if left:
        yield None, list(left)


def hessians(
    model: Any, layer: nn.Module | None, linears: Sequence[nn.Linear], batches: Batches
) -> Iterator[tuple[nn.Linear, Tensor]]:
    """Runs the calibration text through the model as it is now, up to that layer's end.

    A pass from the start for each layer costs half as many passes as there are layers, and takes
    no knowledge of how an architecture calls them.

    Yields:
        Each linear with the sum over tokens of its inputs' outer products, float32
        ``[in_features, in_features]``; all zero if the model never called it.
    """
    import torch

    sums = [_square_of(linear) for linear in linears]
    for batch, real in batches_on(model, batches):
        hooks = [
            linear.register_forward_pre_hook(partial(_add_products, total, real))
            for linear, total in zip(linears, sums, strict=True)
        ]
        if layer is not None:
            hooks.append(layer.register_forward_hook(_stop))
        with removed_after(hooks), torch.no_grad():
            try:
                model(**batch)
            except _SeenEnough:
                continue
    yield from zip(linears, sums, strict=True)


def _square_of(linear: nn.Linear) -> Tensor:
    import torch

    return torch.zeros(linear.in_features, linear.in_features, device=linear.weight.device)


def _add_products(total: Tensor, real: Tensor, linear: nn.Module, inputs: tuple[Tensor]) -> None:
    tokens = inputs[0]
    # A pooler gets one row of each sequence, and which rows an expert gets is not known.
    rows = tokens[real] if tokens.shape[:2] == real.shape else tokens.flatten(0, -2)
    total.addmm_(rows.float().t(), rows.float())


def _stop(*watched: object) -> None:
    raise _SeenEnough

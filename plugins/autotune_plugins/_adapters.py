"""Low-rank adapters, by peft, that know which weights stay zero; no plugin."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported
from autotune_plugins._layers import stacked_linears

if TYPE_CHECKING:
    from torch import Tensor, nn

Masks = Mapping["nn.Parameter", "Tensor"]
"""For weights with zeros that stay: where they are not zero."""

_ADAPTER = "default"
"""peft's name of the first adapter."""


@contextmanager
def merged_adapters(model: Any, rank: int, masks: Masks) -> Iterator[None]:
    """Puts adapters into the linear layers, which alone are trained, and merges them at the end.

    Merging ends in plain linear layers again, whatever happened in between.

    Args:
        model: A ``PreTrainedModel``; changed in place.
        rank: Rank of the adapters.
        masks: Which weights stay zero. The adapters' product is dense: it is masked while it is
            trained, so that nothing is lost when it is merged.

    Raises:
        Unsupported: There is no linear layer to put them into.
    """
    linears = set(stacked_linears(model))
    names = [name for name, module in model.named_modules() if module in linears]
    if not names:
        raise Unsupported(f"{type(model).__name__} has no torch.nn.Linear in its layers to adapt")
    adapted = _adapt(model, rank, names)
    layers = _masked_layers(model, masks)
    for layer, mask in layers:
        layer.forward = partial(_masked_forward, layer, mask)
    try:
        yield
    finally:
        for layer, _ in layers:
            del layer.forward
        adapted.merge_and_unload()


def _adapt(model: Any, rank: int, names: list[str]) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names)
    with warnings.catch_warnings():
        # peft 0.21 asks transformers for a property that this has renamed; a newer one will not.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, config)


def _masked_layers(model: Any, masks: Masks) -> list[tuple[Any, Tensor]]:
    from peft.tuners.lora import Linear

    layers: list[Any] = [module for module in model.modules() if isinstance(module, Linear)]
    return [
        (layer, masks[layer.base_layer.weight])
        for layer in layers
        if layer.base_layer.weight in masks
    ]


def _masked_forward(layer: Any, mask: Tensor, inputs: Tensor) -> Tensor:
    from torch.nn.functional import linear

    base = layer.base_layer
    weight: Tensor = base.weight + mask * layer.get_delta_weight(_ADAPTER)
    return linear(inputs, weight, base.bias)

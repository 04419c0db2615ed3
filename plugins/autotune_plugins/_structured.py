"""Pruning that really shrinks the modules; no plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from autotune.plugin import Context, Unsupported
from autotune_plugins._cuts import column_norms, highest, keep_columns, keep_rows
from autotune_plugins._importance import block_influences, input_norms
from autotune_plugins._layers import find_layout, linear_of, list_layers, replace_layers

if TYPE_CHECKING:
    from torch import nn


def kept_neurons(neurons: int, ratio: float) -> int:
    """How many MLP neurons stay: the multiple of 8 nearest to the ratio, at least 8."""
    return min(neurons, max(8, 8 * round((1 - ratio) * neurons / 8)))


def kept_layers(layers: int, ratio: float) -> int:
    """How many layers stay: at least one goes, at least one stays."""
    return max(1, layers - max(1, round(ratio * layers)))


def cut_neurons(model: Any, count: int, context: Context) -> None:
    """Removes the MLP neurons that move each layer's output least.

    A neuron's score is the norm of its column in the MLP's last linear times the norm of its
    activation. Every layer keeps the same number, so that one ``intermediate_size`` holds.

    Args:
        model: Changed in place.
        count: How many stay in each layer.
        context: With the calibration text.
    """
    layout = find_layout(model.config.to_dict())
    layers = list_layers(model, layout)
    outputs = [linear_of(layer, layout.mlp_output) for layer in layers]
    norms = input_norms(model, outputs, context.calibration)
    for layer, output, norm in zip(layers, outputs, norms, strict=True):
        kept = highest(column_norms(output) * norm, count)
        for path in layout.mlp_inputs:
            keep_rows(linear_of(layer, path), kept)
        keep_columns(output, kept)
        mlp: Any = layer.get_submodule(layout.mlp_output.rpartition(".")[0])
        if hasattr(mlp, "intermediate_size"):
            mlp.intermediate_size = count
    model.config.intermediate_size = count


def cut_layers(model: Any, ratio: float, context: Context) -> int:
    """Removes the layers that turn the hidden state least.

    Returns:
        How many layers went.
    """
    layout = find_layout(model.config.to_dict())
    layers = list_layers(model, layout)
    count = kept_layers(len(layers), ratio)
    if count == len(layers):
        raise Unsupported("a model of one layer has none to spare")
    scores = block_influences(model, layers, context.calibration)
    kept = sorted(sorted(range(len(layers)), key=scores.__getitem__)[-count:])
    replace_layers(model, layout, [layers[index] for index in kept])
    _renumber(list_layers(model, layout))
    _keep_layers_in_config(model.config, kept)
    gone = sorted(set(range(len(layers))) - set(kept))
    context.notes.append(f"removed layers (from 0): {', '.join(map(str, gone))}")
    return len(gone)


def _renumber(layers: list[nn.Module]) -> None:
    """Tells every layer its new place, which is its place in the key-value cache."""
    for index, layer in enumerate(layers):
        for module in layer.modules():
            if hasattr(module, "layer_idx"):
                cast(Any, module).layer_idx = index


def _keep_layers_in_config(config: Any, kept: list[int]) -> None:
    count = config.num_hidden_layers
    config.num_hidden_layers = len(kept)
    for name, value in config.to_dict().items():
        # Lists with one entry per layer: layer_types, no_rope_layers.
        if "layer" in name and isinstance(value, list) and len(value) == count:
            setattr(config, name, [value[index] for index in kept])

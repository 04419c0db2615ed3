"""Pruning that really shrinks the modules; no plugin."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from autotune.plugin import Context, Unsupported
from autotune_plugins._importance import block_influences, input_norms
from autotune_plugins._layers import (
    Layout,
    find_layout,
    linear_of,
    list_layers,
    replace_layers,
)

if TYPE_CHECKING:
    from torch import Tensor, nn


def kept_neurons(neurons: int, ratio: float) -> int:
    """How many MLP neurons stay: the multiple of 8 nearest to the ratio, at least 8."""
    return min(neurons, max(8, 8 * round((1 - ratio) * neurons / 8)))


def kept_groups(groups: int, ratio: float) -> int:
    """How many key-value groups stay: the ratio is a limit that is never exceeded."""
    return max(1, groups - int(ratio * groups + 1e-9))


def kept_layers(layers: int, ratio: float) -> int:
    """How many layers stay: at least one goes, at least one stays."""
    return max(1, layers - max(1, round(ratio * layers)))


def cut_neurons(model: Any, ratio: float, context: Context) -> int:
    """Removes the MLP neurons that move each layer's output least.

    A neuron's score is the norm of its column in the MLP's last linear times the norm of its
    activation. Every layer keeps the same number, so that one ``intermediate_size`` holds.

    Returns:
        How many neurons went from each layer.
    """
    layout = find_layout(model.config.to_dict())
    layers = list_layers(model, layout)
    outputs = [linear_of(layer, layout.mlp_output) for layer in layers]
    norms = input_norms(model, outputs, context.calibration)
    neurons = outputs[0].in_features
    count = kept_neurons(neurons, ratio)
    for layer, output, norm in zip(layers, outputs, norms, strict=True):
        kept = _highest(_column_norms(output) * norm, count)
        for path in layout.mlp_inputs:
            _keep_rows(linear_of(layer, path), kept)
        _keep_columns(output, kept)
    model.config.intermediate_size = count
    return neurons - count


def cut_heads(model: Any, ratio: float, context: Context) -> int:
    """Removes whole key-value groups of attention heads, the same number from each layer.

    A group's score is the norm of its columns in the attention's output linear, each times the
    norm of its input.

    Returns:
        How many groups went from each layer.
    """
    layout = find_layout(model.config.to_dict())
    if not layout.queries:
        context.notes.append("attention heads stay: such a checkpoint could not be loaded")
        return 0
    groups = int(model.config.num_key_value_heads)
    count = _loadable_groups(model.config, kept_groups(groups, ratio))
    if count < groups:
        layers = list_layers(model, layout)
        outputs = [linear_of(layer, layout.attention_output) for layer in layers]
        norms = input_norms(model, outputs, context.calibration)
        for layer, output, norm in zip(layers, outputs, norms, strict=True):
            scores = (_column_norms(output) * norm).view(groups, -1).square().sum(-1)
            _keep_groups(layer, layout, groups, _highest(scores, count))
        _set_groups(model.config, count)
    context.notes.append(f"{groups - count} of {groups} key-value groups cut in each layer")
    return groups - count


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


def _column_norms(linear: nn.Linear) -> Tensor:
    import torch

    norms: Tensor = torch.linalg.vector_norm(linear.weight.detach().float(), dim=0)
    return norms


def _highest(scores: Tensor, count: int) -> Tensor:
    """The indices of the highest scores, in order."""
    import torch

    return torch.sort(scores.topk(count).indices).values


def _keep_rows(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = _like(linear.weight, linear.weight[kept])
    if linear.bias is not None:
        linear.bias = _like(linear.bias, linear.bias[kept])
    linear.out_features = len(kept)


def _keep_columns(linear: nn.Linear, kept: Tensor) -> None:
    linear.weight = _like(linear.weight, linear.weight[:, kept])
    linear.in_features = len(kept)


def _like(old: Tensor, values: Tensor) -> nn.Parameter:
    """A parameter that can be trained if the old one could: distillation may follow."""
    from torch.nn import Parameter

    return Parameter(values.detach().contiguous(), requires_grad=old.requires_grad)


def _keep_groups(layer: nn.Module, layout: Layout, groups: int, kept: Tensor) -> None:
    queries, output = (
        linear_of(layer, path) for path in (layout.queries, layout.attention_output)
    )
    _keep_rows(queries, _spread(kept, queries.out_features // groups))
    _keep_columns(output, _spread(kept, output.in_features // groups))
    for linear in (linear_of(layer, path) for path in layout.keys_values):
        _keep_rows(linear, _spread(kept, linear.out_features // groups))


def _spread(groups: Tensor, width: int) -> Tensor:
    """The indices of every feature of these groups."""
    import torch

    within = torch.arange(width, device=groups.device)
    return (groups[:, None] * width + within).flatten()


def _set_groups(config: Any, count: int) -> None:
    heads, groups = config.num_attention_heads, config.num_key_value_heads
    # Otherwise it would be derived from the number of heads that is about to change.
    config.head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    config.num_attention_heads = heads // groups * count
    config.num_key_value_heads = count


def _loadable_groups(config: Any, count: int) -> int:
    """The least number of groups, from ``count`` up, that the config class accepts.

    Llama's, for one, wants ``hidden_size`` to be a multiple of the number of heads.
    """
    for groups in range(count, config.num_key_value_heads):
        smaller = copy.deepcopy(config)
        _set_groups(smaller, groups)
        try:
            smaller.validate_architecture()
        except ValueError:
            continue
        return groups
    return int(config.num_key_value_heads)


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

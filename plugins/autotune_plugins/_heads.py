"""Pruning of attention heads, by key-value group; no plugin."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from autotune.plugin import Context
from autotune_plugins._cuts import column_norms, highest, keep_columns, keep_rows
from autotune_plugins._importance import input_norms
from autotune_plugins._layers import Layout, find_layout, linear_of, list_layers

if TYPE_CHECKING:
    from torch import Tensor, nn


class Heads(NamedTuple):
    """The attention heads of a layer."""

    groups: int
    """Key-value heads."""
    per_group: int
    """Query heads that share one of them."""

    @property
    def total(self) -> int:
        return self.groups * self.per_group

    def towards(self, fewer: Heads, share: float) -> Heads:
        """A share of the way to fewer heads."""
        return Heads(*(round(a + share * (b - a)) for a, b in zip(self, fewer, strict=True)))


def heads_of(config: Mapping[str, Any]) -> Heads:
    """Reads them from a ``config.json``."""
    total = int(config["num_attention_heads"])
    groups = int(config.get("num_key_value_heads") or total)
    return Heads(groups, total // groups)


def kept_heads(heads: Heads, ratio: float) -> Heads:
    """How many attention heads stay.

    Whole key-value groups go, with their queries, as many as the ratio allows. Where it allows
    none (models have few), queries go from each group, to the number nearest to the ratio.
    """
    groups = max(1, heads.groups - int(ratio * heads.groups + 1e-9))
    if groups < heads.groups:
        return heads._replace(groups=groups)
    return heads._replace(per_group=max(1, round((1 - ratio) * heads.per_group)))


def cut_heads(model: Any, wanted: Heads, context: Context) -> None:
    """Removes the attention heads that move each layer's output least, as many from each layer.

    A head's score is the norm of its columns in the attention's output linear, each times the
    norm of its input; a group's that of all its heads.

    Args:
        model: Changed in place.
        wanted: What is to stay; more stays where the config class accepts no fewer.
        context: With the calibration text.
    """
    layout = find_layout(model.config.to_dict())
    old = heads_of(model.config.to_dict())
    new = _loadable(model.config, wanted)
    if new == old:
        return
    layers = list_layers(model, layout)
    outputs = [linear_of(layer, layout.attention_output) for layer in layers]
    norms = input_norms(model, outputs, context.calibration)
    for layer, output, norm in zip(layers, outputs, norms, strict=True):
        scores = (column_norms(output) * norm).view(*old, -1).square().sum(-1)
        _keep_heads(layer, layout, old, _best_heads(scores, new))
    _set_heads(model.config, new)


def _best_heads(scores: Tensor, count: Heads) -> Tensor:
    """The query heads that stay, in order, a row for each group that stays.

    Args:
        scores: ``[groups, heads of a group]``.
        count: How many of both stay.
    """
    groups = highest(scores.sum(-1), count.groups)
    within = scores[groups].topk(count.per_group).indices.sort().values
    return groups[:, None] * scores.shape[1] + within


def _keep_heads(layer: nn.Module, layout: Layout, old: Heads, kept: Tensor) -> None:
    """Takes ``kept`` from ``_best_heads``."""
    queries, output = (
        linear_of(layer, path) for path in (layout.queries, layout.attention_output)
    )
    keep_rows(queries, _spread(kept.flatten(), queries.out_features // old.total))
    keep_columns(output, _spread(kept.flatten(), output.in_features // old.total))
    groups = kept[:, 0] // old.per_group
    for linear in (linear_of(layer, path) for path in layout.keys_values):
        keep_rows(linear, _spread(groups, linear.out_features // old.groups))
    attention = layer.get_submodule(layout.queries.rpartition(".")[0])
    # Read when keys and values are repeated for their queries.
    cast(Any, attention).num_key_value_groups = kept.shape[1]


def _spread(heads: Tensor, width: int) -> Tensor:
    """The indices of every feature of these heads."""
    import torch

    within = torch.arange(width, device=heads.device)
    return (heads[:, None] * width + within).flatten()


def _set_heads(config: Any, count: Heads) -> None:
    # Otherwise it would be derived from the number of heads that is about to change.
    head_dim = getattr(config, "head_dim", None)
    config.head_dim = head_dim or config.hidden_size // config.num_attention_heads
    config.num_attention_heads = count.total
    config.num_key_value_heads = count.groups


def _loadable(config: Any, wanted: Heads) -> Heads:
    """The fewest heads, from those wanted up, that the config class accepts.

    Llama's, for one, wants ``hidden_size`` to be a multiple of the number of heads.
    """
    old = heads_of(config.to_dict())
    for groups in range(wanted.groups, old.groups + 1):
        for per_group in range(wanted.per_group, old.per_group + 1):
            count = Heads(groups, per_group)
            if _is_accepted(config, count):
                return count
    return old


def _is_accepted(config: Any, count: Heads) -> bool:
    smaller = copy.deepcopy(config)
    _set_heads(smaller, count)
    try:
        smaller.validate_architecture()
    except ValueError:
        return False
    return True


def heads_in_words(old: Heads, new: Heads) -> str:
    """What became of the heads, for a person."""
    if new.per_group < old.per_group:
        gone = old.per_group - new.per_group
        return f"{gone} of {old.per_group} query heads cut in each group of each layer"
    return f"{old.groups - new.groups} of {old.groups} key-value groups cut in each layer"

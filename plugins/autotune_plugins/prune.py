"""Removing what contributes least."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Float, Params, Stage
from autotune.plugin import Context, Estimate, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._allocation import ratios_by_sensitivity
from autotune_plugins._capability import require_capability
from autotune_plugins._gradual import prune_gradually
from autotune_plugins._heads import cut_heads, heads_in_words, heads_of, kept_heads
from autotune_plugins._layers import find_layout
from autotune_plugins._masks import magnitude_scales, mask_lowest, mask_two_of_four, wanda_scales
from autotune_plugins._sizes import BITS, checkpoint_dtype, shares
from autotune_plugins._sparse import store_sparsely, stored_share
from autotune_plugins._structured import cut_layers, cut_neurons, kept_layers, kept_neurons

_MASKS = ("magnitude", "wanda")
_MOST_STRUCTURE = 0.6
"""Beyond it too little is left of the modules."""


class Prune(Plugin):
    """Remove the weights, neurons, attention heads or layers that contribute least.

    structured (MLP neurons and attention heads) and depth (whole layers) shrink the modules:
    faster and smaller on every device, at a loss that grows with the ratio; one layer less is
    about one layer's share faster. magnitude, wanda and wanda_2_4 write zeros: they cost accuracy
    and gain nothing unless storage leaves the zeros out. wanda loses less than magnitude at the
    same ratio. All but magnitude judge by activations on calibration text.
    """

    name = "prune"
    params = {
        "method": Choice(
            *("none", "magnitude", "wanda", "wanda_2_4", "structured", "depth"),
            default="none",
            stage=Stage.MODEL,
            help="What is removed, and by which measure of importance.",
        ),
        "ratio": Float(
            *(0.1, 0.9),
            step=0.1,
            default=0.3,
            stage=Stage.MODEL,
            when={"method": (*_MASKS, "structured", "depth")},
            help="How much of it is removed; of structure 0.6 at most, by wanda_2_4 always half.",
        ),
        "allocation": Choice(
            *("uniform", "sensitivity"),
            default="uniform",
            stage=Stage.MODEL,
            when={"method": _MASKS},
            help="Whether all layers lose the same share, or more the less the output feels it.",
        ),
        "schedule": Choice(
            *("one_shot", "gradual"),
            default="one_shot",
            stage=Stage.MODEL,
            when={"method": (*_MASKS, "structured")},
            help="Whether all goes at once, or in steps with a short distillation after each.",
        ),
        "storage": Choice(
            *("dense", "csr", "bitmask", "semi_structured"),
            default="dense",
            stage=Stage.MODEL,
            when={"method": (*_MASKS, "wanda_2_4")},
            help="How zeros are stored: as others, or left out in one of three formats.",
        ),
    }
    phase = Phase.STRUCTURE

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["method"] in ("structured", "depth"):
            find_layout(model_config)
            if float(params["ratio"]) > _MOST_STRUCTURE + 1e-9:
                raise Unsupported(f"{params['method']} removes at most {_MOST_STRUCTURE}")
        if params["method"] == "depth" and model_config.get("num_hidden_layers") == 1:
            raise Unsupported("a model of one layer has none to spare")
        if params.get("storage", "dense") != "dense":
            _check_storage(params, model_config, device)

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        ratio = float(params.get("ratio", 0))
        match params["method"]:
            case "wanda_2_4":
                mask_two_of_four(model, context)
            case "depth":
                cut_layers(model, ratio, context)
            case "structured":
                _cut_width(model, ratio, params, context)
            case _:
                _prune(model, _masking(model, ratio, params, context), params, context)
        if params.get("storage", "dense") != "dense":
            store_sparsely(model, str(params["storage"]))
        return model

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        factor = _remaining(params, model_config)
        if params.get("storage", "dense") == "dense":
            return Estimate(weights_bytes=factor, flops=factor, memory_traffic=factor)
        # bitmask writes the dense weights, and reads them again, in each pass.
        traffic = factor + 2 if params["storage"] == "bitmask" else factor
        return Estimate(weights_bytes=factor, memory_traffic=traffic)


def _check_storage(params: Params, config: ModelConfig, device: Device) -> None:
    storage = str(params["storage"])
    if storage == "semi_structured":
        if params["method"] != "wanda_2_4":
            raise Unsupported("semi_structured stores two of every four weights: wanda_2_4")
        require_capability("semi_structured", device, (8, 0))
    if _stored(params, config) >= 1:
        raise Unsupported(
            f"{storage} takes as many bytes as dense, or more, where only {_zeros(params):.0%} of "
            "the weights are zero"
        )


def _stored(params: Params, config: ModelConfig) -> float:
    """Bytes of a pruned linear over those of a dense one."""
    weight_bytes = BITS[checkpoint_dtype(config)] / 8
    return stored_share(str(params["storage"]), _zeros(params), weight_bytes)


def _zeros(params: Params) -> float:
    return 0.5 if params["method"] == "wanda_2_4" else float(params["ratio"])


def _prune(model: Any, cut: Callable[[float], None], params: Params, context: Context) -> None:
    if params["schedule"] == "gradual":
        prune_gradually(model, cut, context)
    else:
        cut(1.0)


def _masking(
    model: Any, ratio: float, params: Params, context: Context
) -> Callable[[float], None]:
    """What masks a share of the ratio."""
    wanda = partial(wanda_scales, model, context)
    score = wanda if params["method"] == "wanda" else partial(magnitude_scales, model)
    by_layer = params["allocation"] == "sensitivity"
    own = ratios_by_sensitivity(model, score(), ratio, context) if by_layer else {}

    def cut(share: float) -> None:
        scales = score()
        mask_lowest(scales, {linear: share * own.get(linear, ratio) for linear in scales})

    return cut


def _cut_width(model: Any, ratio: float, params: Params, context: Context) -> None:
    config = model.config.to_dict()
    neurons, has_heads = int(config["intermediate_size"]), bool(find_layout(config).queries)
    heads = heads_of(config)

    def cut(share: float) -> None:
        cut_neurons(model, kept_neurons(neurons, share * ratio), context)
        if has_heads:
            cut_heads(model, heads.towards(kept_heads(heads, ratio), share), context)

    _prune(model, cut, params, context)
    left = heads_of(model.config.to_dict())
    if model.config.intermediate_size == neurons and left == heads:
        raise Unsupported(f"nothing is small enough to go at ratio {ratio}: too few neurons")
    why = "attention heads stay: such a checkpoint could not be loaded"
    context.notes.append(heads_in_words(heads, left) if has_heads else why)


def _remaining(params: Params, config: ModelConfig) -> float:
    """The part of all weights' bytes that is left; zeros that are stored are left."""
    share = shares(config)
    if share is None:
        return 1.0
    if params["method"] in (*_MASKS, "wanda_2_4"):
        if params.get("storage", "dense") == "dense":
            return 1.0
        return 1 - share.linear * (1 - _stored(params, config))
    ratio = float(params["ratio"])
    if params["method"] == "depth":
        layers = int(config["num_hidden_layers"])
        return 1 - share.linear * (1 - kept_layers(layers, ratio) / layers)
    neurons = int(config["intermediate_size"])
    gone_mlp = 1 - kept_neurons(neurons, ratio) / neurons
    return 1 - share.mlp * gone_mlp - share.attention * _gone_heads(config, ratio)


def _gone_heads(config: ModelConfig, ratio: float) -> float:
    if not find_layout(config).queries:
        return 0.0
    old = heads_of(config)
    new = kept_heads(old, ratio)
    # Queries and output have the size of all heads, keys and values that of the groups.
    return 1 - (new.total + new.groups) / (old.total + old.groups)

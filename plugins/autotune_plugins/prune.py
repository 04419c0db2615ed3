"""Removing what contributes least."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Float, Params, Stage
from autotune.plugin import Context, Estimate, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._heads import cut_heads, heads_of, kept_heads
from autotune_plugins._layers import find_layout
from autotune_plugins._masks import mask_by_magnitude, mask_by_wanda, mask_two_of_four
from autotune_plugins._sizes import shares
from autotune_plugins._structured import cut_layers, cut_neurons, kept_layers, kept_neurons


class Prune(Plugin):
    """Remove the weights, neurons, attention heads or layers that contribute least.

    structured (MLP neurons and attention heads) and depth (whole layers) shrink the modules:
    faster and smaller on every device, at a loss that grows with the ratio; one layer less is
    about one layer's share faster. magnitude, wanda and wanda_2_4 only write zeros: they cost
    accuracy and gain nothing until a sparse kernel uses them. wanda loses less than magnitude
    at the same ratio. All but magnitude judge by activations on calibration text.
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
            *(0.1, 0.6),
            step=0.1,
            default=0.3,
            stage=Stage.MODEL,
            when={"method": ("magnitude", "wanda", "structured", "depth")},
            help="How much of it is removed; wanda_2_4 always removes half.",
        ),
    }
    phase = Phase.STRUCTURE

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if params["method"] in ("structured", "depth"):
            find_layout(model_config)
        if params["method"] == "depth" and model_config.get("num_hidden_layers") == 1:
            raise Unsupported("a model of one layer has none to spare")

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        ratio = float(params.get("ratio", 0))
        match params["method"]:
            case "magnitude":
                mask_by_magnitude(model, ratio)
            case "wanda":
                mask_by_wanda(model, ratio, context)
            case "wanda_2_4":
                mask_two_of_four(model, context)
            case "structured":
                _cut_width(model, ratio, context)
            case "depth":
                cut_layers(model, ratio, context)
        return model

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        factor = _remaining(params, model_config)
        return Estimate(weights_bytes=factor, flops=factor, memory_traffic=factor)


def _cut_width(model: Any, ratio: float, context: Context) -> None:
    neurons = cut_neurons(model, ratio, context)
    if neurons + cut_heads(model, ratio, context) == 0:
        raise Unsupported(f"nothing is small enough to go at ratio {ratio}: too few neurons")


def _remaining(params: Params, config: ModelConfig) -> float:
    """The part of all weights that is left; zeros that are stored are left."""
    share = shares(config)
    if share is None or params["method"] not in ("structured", "depth"):
        return 1.0
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

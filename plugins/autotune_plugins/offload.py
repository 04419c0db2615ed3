"""Layers whose weights are elsewhere until they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, Estimate, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._sizes import shares

_ON = ("disk", "cpu")
_NEEDS = {"disk": "cpu", "cpu": "cuda"}
"""Where weights may be → the kind of device that computes with them."""


class Offload(Plugin):
    """Keep the layers' weights on disk or in the host's memory, and bring them in one by one.

    For models that do not fit: every pass reads the offloaded layers again, from the disk itself
    and not from the page cache, so it takes memory for time. It pays least badly with large
    batches and long prompts, where a pass computes much with each layer that it brings in.
    """

    name = "offload"
    params = {
        "where": Choice(
            *("none", *_ON),
            default="none",
            stage=Stage.SETUP,
            help="disk (of models on a CPU): the checkpoint; cpu (on a GPU): pinned memory.",
        ),
        "prefetch_layers": Choice(
            *(0, 1, 2),
            default=1,
            stage=Stage.SETUP,
            when={"where": _ON},
            help="Layers that are brought in while an earlier one is computed.",
        ),
        "resident": Choice(
            *(0.0, 0.25, 0.5, 0.75),
            default=0.0,
            stage=Stage.SETUP,
            when={"where": _ON},
            help="Share of the layers that stay in memory, evenly among the others.",
        ),
    }
    # Other ways to store or execute the weights, and what changes them in place, would have to
    # know that they come and go.
    conflicts = ("compile", "distill", "engine", "prune", "quantize")
    phase = Phase.WEIGHTS

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        where = str(params["where"])
        if where != "none" and device.kind != _NEEDS[where]:
            kind = {"cpu": "a CPU", "cuda": "a GPU"}[_NEEDS[where]]
            raise Unsupported(f"where={where} is for models on {kind}; this is {device.name}")
        layers, resident = model_config.get("num_hidden_layers"), float(params.get("resident", 0))
        if resident and layers and layers * resident < 1:
            raise Unsupported(f"resident={resident} of {layers} layers is none: 0.0 says so")

    def load_args(self, params: Params) -> dict[str, Any]:
        if params["where"] == "disk":
            return {"mapped_weights": True}
        return {"device_map": {"": "cpu"}}  # the GPU need not have room for all

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        from autotune_plugins import _offloading, _offloading_cuda

        stack = _offloading.find_layers(model)
        stay = _offloading.resident_layers(len(stack), float(params["resident"]))
        away = [layer for index, layer in enumerate(stack) if index not in stay]
        kept: Sequence[_offloading.Kept]
        if params["where"] == "disk":
            kept = _offloading.offload_to_disk(model, away)
        else:
            kept = _offloading_cuda.offload_to_host(model, away, context.device.torch_name)
        _offloading.bring_in(away, kept, int(params["prefetch_layers"]))
        context.notes.append(f"offload: {len(away)} of {len(stack)} layers are brought in")
        return model

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        share = shares(model_config)
        if share is None:
            return Estimate()
        return Estimate(weights_bytes=1 - share.linear * (1 - float(params["resident"])))

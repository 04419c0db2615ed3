"""How the keys and values of earlier tokens are kept."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Trait, Unsupported


class Cache(Plugin):
    """Keep the keys and values of earlier tokens in another form than tensors that grow.

    static reserves room for the whole request at once: nothing is copied as it grows, at the
    price of attending to the room that is still empty. quantized and sliding save memory for
    long prompts and large batches and lose accuracy: quantized keeps 8, 4 or 2 bits of each
    number, with a scale and an offset for each token of each head, and unpacks them in every
    step; sliding keeps the first tokens and the latest ones only. offloaded keeps all but one
    layer's in the host's memory: for what would not fit on the GPU, much slower.
    """

    name = "cache"
    params = {
        "kind": Choice(
            *("dynamic", "static", "quantized", "sliding", "offloaded"),
            default="dynamic",
            stage=Stage.RUN,
            help="The kind of key-value cache.",
        ),
        "bits": Choice(
            *(8, 4, 2),
            default=8,
            stage=Stage.RUN,
            when={"kind": "quantized"},
            affects_accuracy=True,
            help="Bits of each key and value.",
        ),
        "window": Choice(
            *(64, 128, 256, 512, 1024),
            default=256,
            stage=Stage.RUN,
            when={"kind": "sliding"},
            affects_accuracy=True,
            help="How many of the latest tokens are kept.",
        ),
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.UNIFORM,))

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        kind = params["kind"]
        if kind == "offloaded" and device.kind != "cuda":
            raise Unsupported("an offloaded cache moves between a GPU and its host: it needs CUDA")
        others = set(model_config.get("layer_types") or ()) - {"full_attention"}
        if kind in ("quantized", "sliding") and others:
            raise Unsupported(
                f"a {kind} cache is for layers that attend to all tokens; this model also has "
                f"{', '.join(sorted(others))} layers"
            )

    def run_args(self, params: Params) -> dict[str, Any]:
        sizes = {f"cache_{name}": params[name] for name in ("bits", "window") if name in params}
        return {"cache": params["kind"]} | sizes

"""Training what pruning has left on what the original model says."""

from __future__ import annotations

import importlib.util
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, ModelConfig, Phase, Plugin, Unsupported
from autotune_plugins._capability import computes_bfloat16, require_capability
from autotune_plugins._distilling import distill
from autotune_plugins._kept_weights import keep, take_kept
from autotune_plugins._sparse import stored_densely
from autotune_plugins._training import Settings

_ON = {"train": ("full", "lora")}


class Distill(Plugin):
    """Train the changed model to predict what the original model predicts.

    It gives back accuracy that pruning took and costs no speed, only the time to train: the
    original writes text, the changed model learns its distributions of the next token on that and
    on the calibration text, and the weights that did best on text held back are kept. full trains
    all weights; lora trains low-rank matrices (by peft) that are then merged into them: less
    memory, smaller gain. Weights that pruning has set to zero stay zero.
    """

    name = "distill"
    params = {
        "train": Choice(
            *("none", "full", "lora"),
            default="none",
            stage=Stage.MODEL,
            help="Which weights are trained: all, or low-rank additions to the linear layers.",
        ),
        "steps": Choice(
            *(50, 100, 200, 400),
            default=100,
            stage=Stage.MODEL,
            when=_ON,
            help="Updates of the weights at most; fewer where they no longer help.",
        ),
        "learning_rate": Choice(
            *(1e-4, 3e-4, 1e-3, 3e-3),
            default=1e-3,
            stage=Stage.MODEL,
            when=_ON,
            help="Of AdamW, after a warm-up over a tenth of the steps.",
        ),
        "schedule": Choice(
            *("cosine", "plateau", "constant"),
            default="cosine",
            stage=Stage.MODEL,
            when=_ON,
            help="How the learning rate goes on; plateau halves it when held-out text gains none.",
        ),
        "accumulation": Choice(
            *(1, 2, 4),
            default=1,
            stage=Stage.MODEL,
            when=_ON,
            help="Batches of 8 texts whose gradients make one update.",
        ),
        "clip_norm": Choice(
            *(0.3, 1.0),
            default=1.0,
            stage=Stage.MODEL,
            when=_ON,
            help="Longest gradient of an update (L2 norm).",
        ),
        "dtype": Choice(
            *("float32", "bfloat16"),
            default="float32",
            stage=Stage.MODEL,
            when=_ON,
            help="In which format training multiplies; the weights are float32 meanwhile.",
        ),
        "rank": Choice(
            *(8, 32),
            default=8,
            stage=Stage.MODEL,
            when={"train": "lora"},
            help="Rank of the matrices that are added.",
        ),
    }
    phase = Phase.RECOVER

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if model_config.get("quantization_config"):
            raise Unsupported("the checkpoint is quantized: its weights cannot be trained")
        if params["dtype"] == "bfloat16":
            _require_bfloat16(device)
        if params["train"] == "lora":
            _require_peft()

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        if params["train"] == "lora":
            _require_peft()
        with stored_densely(model):
            if not take_kept(model, context):
                context.notes.append(distill(model, _settings(params), context))
                keep(model, context)
        return model


def _settings(params: Params) -> Settings:
    return Settings(
        steps=int(params["steps"]),
        learning_rate=float(params["learning_rate"]),
        schedule=str(params["schedule"]),
        accumulation=int(params["accumulation"]),
        clip_norm=float(params["clip_norm"]),
        dtype=str(params["dtype"]),
        rank=int(params.get("rank", 0)),
    )


def _require_bfloat16(device: Device) -> None:
    if device.kind == "cuda":
        require_capability("training in bfloat16", device, (8, 0))
    elif not computes_bfloat16(device):
        raise Unsupported(
            f"{device.name} has no bfloat16: training in it gains nothing over float32, and may "
            "take many times as long"
        )


def _require_peft() -> None:
    if importlib.util.find_spec("peft") is None:
        raise Unsupported("distill.train=lora needs the package peft: pip install peft")

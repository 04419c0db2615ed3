"""Leaving out the last layers for tokens that are sure before."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import ModelConfig, Plugin, Requires, Trait, Unsupported

_KNOWN = ("gemma", "gpt2", "llama", "mistral", "qwen2", "qwen3", "smollm3")
"""Between their last layer and their logits is nothing but the final norm and the head."""

_ON = (0.5, 0.7, 0.8, 0.9, 0.95)


class EarlyExit(Plugin):
    """Leave out the last layers in decoding for tokens that the head is already sure of.

    The head is asked on the hidden state between two layers; where its most probable token has
    at least the given probability, that is the answer, and the layers that are left out only
    make their keys and values of the same state. In a batch each sequence exits by itself, and
    time is saved once all have: it pays at small batches, in deep models with a small vocabulary,
    for asking costs a pass of the head. Prompts run through all layers. Accuracy is scored with
    the exits; a note tells which share of the layers was left out.
    """

    name = "early_exit"
    params = {
        "confidence": Choice(
            *(0.0, *_ON),
            default=0.0,
            stage=Stage.RUN,
            affects_accuracy=True,
            help="Probability of the next token from which on layers are left out; 0: never.",
        ),
        "first_layer": Choice(
            *(0.5, 0.75),
            default=0.5,
            stage=Stage.RUN,
            when={"confidence": _ON},
            affects_accuracy=True,
            help="Share of the layers after which the head is asked first.",
        ),
        "places": Choice(
            *("first", "every"),
            default="first",
            stage=Stage.RUN,
            when={"confidence": _ON},
            affects_accuracy=True,
            help="Whether the head is asked once, or again after every further layer.",
        ),
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.UNIFORM,))
    conflicts = ("compile", "speculative", "engine")

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        kind = model_config.get("model_type")
        if kind not in _KNOWN:
            raise Unsupported(
                f"how a {kind!r} model gets from its layers to its logits is not known here; "
                f"known: {', '.join(_KNOWN)}"
            )
        layers = int(model_config.get("num_hidden_layers") or model_config.get("n_layer") or 0)
        first = max(1, round(float(params["first_layer"]) * layers))
        if first >= layers:
            raise Unsupported(
                f"{params['first_layer']} of {layers} layers are all of them: none is left that "
                "could be left out"
            )
        if params["places"] == "every" and first == layers - 1:
            raise Unsupported(f"a model of {layers} layers has only one place to ask at")

    def run_args(self, params: Params) -> dict[str, Any]:
        return {
            "exit_confidence": params["confidence"],
            "exit_share": params["first_layer"],
            "exit_places": params["places"],
        }

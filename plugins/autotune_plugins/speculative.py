"""Guessing several tokens and checking them in one pass."""

from __future__ import annotations

from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import Context, Estimate, ModelConfig, Plugin, Requires, Trait, Unsupported
from autotune_plugins._assistant import make_assistant
from autotune_plugins._layers import find_layout
from autotune_plugins._sizes import shares
from autotune_plugins._structured import kept_layers


class Speculative(Plugin):
    """Guess the next tokens and check them all in one pass of the model.

    Greedy decoding gives the same tokens, in fewer passes where guesses are right: it pays where
    a pass over a few tokens costs hardly more than over one, which is small batches. All
    sequences of a batch go on by what the worst of them accepts. prompt_lookup guesses what
    followed the last words where they stood before: summaries, code, and whatever repeats itself.
    self_draft guesses with some of the model's own layers, uncompiled, which costs no weights
    but a second key-value cache; it pays in models that say nearly the same with fewer layers.
    assistant guesses with a model of its own: the original with fewer layers, trained to say what
    it says; it guesses better, for its weights and the time to train them.
    """

    name = "speculative"
    params = {
        "method": Choice(
            *("none", "prompt_lookup", "self_draft", "assistant"),
            default="none",
            stage=Stage.RUN,
            help="Where guesses come from.",
        ),
        "tokens": Choice(
            *(2, 4, 8),
            default=4,
            stage=Stage.RUN,
            when={"method": ("prompt_lookup", "self_draft", "assistant")},
            help="How many tokens are guessed at most.",
        ),
        "layers": Choice(
            *(0.25, 0.5, 0.75),
            default=0.5,
            stage=Stage.RUN,
            when={"method": "self_draft"},
            help="Which share of the layers guesses.",
        ),
        "assistant_layers": Choice(
            *(0.25, 0.5),
            default=0.25,
            stage=Stage.SETUP,
            when={"method": "assistant"},
            help="Which share of the layers the assistant keeps.",
        ),
    }
    requires = Requires(tasks=("causal-lm",), workload=(Trait.UNIFORM,))

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        kinds = set(model_config.get("layer_types") or ())
        slides = model_config.get("sliding_window") and model_config.get(
            "use_sliding_window", True
        )
        if kinds - {"full_attention"} or (slides and not kinds):
            raise Unsupported(
                "guesses that are not taken have to be forgotten, which the cache of layers that "
                "do not attend to all tokens cannot; this model has such layers"
            )
        if params["method"] in ("self_draft", "assistant"):
            find_layout(model_config)
        if params["method"] == "assistant":
            _check_assistant(model_config)

    def transform(self, model: Any, params: Params, context: Context) -> Any:
        if params["method"] == "assistant":
            share = float(params["assistant_layers"])
            model.assistant = make_assistant(model, share, context)
        return model

    def is_in_weights(self, params: Params) -> bool:
        return params["method"] == "assistant"  # it was trained

    def run_args(self, params: Params) -> dict[str, Any]:
        drafts = {"draft_tokens": params["tokens"]}
        if params["method"] == "self_draft":
            drafts["draft_layers"] = params["layers"]
        if params["method"] == "assistant":
            drafts["draft_assistant"] = True
        return drafts

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        share = shares(model_config)
        if params["method"] != "assistant" or share is None:
            return Estimate()
        layers = int(model_config["num_hidden_layers"])
        kept = kept_layers(layers, 1 - float(params["assistant_layers"])) / layers
        return Estimate(weights_bytes=2 - share.linear * (1 - kept))


def _check_assistant(model_config: ModelConfig) -> None:
    if model_config.get("num_hidden_layers") == 1:
        raise Unsupported("a model of one layer has none to spare for an assistant")
    if model_config.get("quantization_config"):
        raise Unsupported("the checkpoint is quantized: an assistant cannot be trained from it")

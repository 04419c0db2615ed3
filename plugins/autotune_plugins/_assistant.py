"""A small model that guesses what a large one says: made of the large one itself; no plugin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autotune.plugin import Context, Unsupported
from autotune_plugins._distilling import distill
from autotune_plugins._kept_weights import keep, take_kept
from autotune_plugins._structured import cut_layers
from autotune_plugins._training import Settings

_TRAINING = Settings(steps=200)


def make_assistant(model: Any, share: float, context: Context) -> Any:
    """Cuts layers from the original model and trains what is left to say what it says.

    Args:
        model: The model that it will guess for.
        share: Of the layers that are kept.
        context: Its own artifact keeps the weights for the next process.

    Returns:
        A causal language model in the format, and with the attention, of the other.

    Raises:
        FloatingPointError: The training diverged.
        Unsupported: There is no original model to load, or it cannot be cut or trained.
    """
    if context.teacher is None:
        raise Unsupported("an assistant is made of the original model, and there is none to load")
    assistant = context.teacher()
    cut_layers(assistant, 1 - share, context)
    own = replace(context, artifact=context.own_artifact)
    if not take_kept(assistant, own):
        context.notes.append(f"the assistant, {distill(assistant, _TRAINING, context)}")
        keep(assistant, own)
    assistant.set_attn_implementation(model.config._attn_implementation)
    return assistant.to(model.dtype).eval().requires_grad_(False)

"""What a model that is divided among processes needs of a key-value cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from autotune.bench.meters.memory import is_divided
from autotune.plugin import Unsupported


def layers_here(model: Any) -> list[int] | None:
    """The layers that a stage of a pipeline holds; None of a model that holds all. transformers
    puts modules that do nothing in the place of the others."""
    for stack in getattr(model, "base_model", model).children():
        if isinstance(stack, torch.nn.ModuleList):
            held = [i for i, layer in enumerate(stack) if not isinstance(layer, torch.nn.Identity)]
            return held if len(held) < len(stack) else None
    return None


def for_stage(cache: Any, model: Any) -> Any:
    """The model asks the first layer how many tokens the cache holds, and in a later stage of a
    pipeline nothing comes to that one: without this, each step would be at position 0.

    Args:
        cache: New, with a layer for each of the whole model.
        model: Whole, or a stage.
    """
    held = layers_here(model)
    if held:
        cache.layers[0] = cache.layers[held[0]]
    return cache


def require_plain(model: Any, run_args: Mapping[str, Any]) -> None:
    """
    Raises:
        Unsupported: The processes that hold parts of this model cannot be driven so.
    """
    staged = layers_here(model) is not None
    if staged and (run_args["cache"] != "dynamic" or run_args["draft_tokens"]):
        raise Unsupported(
            "a pipeline of processes is driven with the dynamic key-value cache and without "
            "drafts: leave the plugins cache and speculative off"
        )
    if run_args["cache"] == "static" and any(map(is_divided, model.parameters())):
        raise Unsupported(
            "a static key-value cache has room for all heads, and with tensor parallelism each "
            "process has some of them"
        )

"""Drafts for speculative decoding by a smaller model, or by some of the model's own layers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from autotune.plugin import Unsupported

Step = Callable[[torch.Tensor, Any], torch.Tensor]
"""Token ids and a cache to the logits of the last position, ``[sequences, 1, vocabulary]``."""


class ModelDraft:
    """Guesses the next tokens of one request, one after the other.

    A small model that drafts is that of Leviathan et al., 2023; skipping layers in its place that
    of Draft & Verify (Zhang et al., 2023), without its search for the best ones.
    """

    def __init__(self, step: Step, cache: Any) -> None:
        """
        Args:
            step: Of the smaller model, or of ``part_of`` the model.
            cache: An empty one of its own.
        """
        self._step = step
        self._cache = cache
        self._held = 0
        """Tokens whose keys and values the cache holds."""

    def guess(self, words: torch.Tensor, count: int) -> torch.Tensor:
        """What it would say next.

        Args:
            words: Token ids of prompts and what was generated, ``[sequences, tokens]``; those that
                were there at the latest guess, and what was taken of it and said since.
            count: How many tokens to guess.

        Returns:
            ``[sequences, count]``.
        """
        agreed = min(self._held, words.shape[1] - 1)
        if self._held > agreed:
            self._cache.crop(agreed - self._held)
            self._held = agreed
        fed, guessed = words[:, agreed:], [words[:, :0]]
        for _ in range(count):
            logits = self._step(fed, self._cache)
            self._held += fed.shape[1]
            fed = logits.argmax(-1)
            guessed.append(fed)
        return torch.cat(guessed, dim=1)


def part_of(model: Any, share: float) -> Any:
    """The model with fewer layers, spread over its depth. It holds no weights of its own, and runs
    uncompiled. Where all layers attend to all tokens, a cache for it is one for the whole model.

    Args:
        model: A causal language model of transformers.
        share: Of the layers that are kept, above 0.

    Raises:
        Unsupported: Its layers are not found.
    """
    base = model.base_model
    name, layers = stack(base)
    kept = _spread(len(layers), max(1, round(share * len(layers))))
    part, part_base = shallow(model), shallow(base)
    part._modules[model.base_model_prefix] = part_base
    part_base._modules[name] = nn.ModuleList([layers[i] for i in kept])
    part_base.config = copy.deepcopy(base.config)
    part_base.config.num_hidden_layers = len(kept)
    if kinds := getattr(base.config, "layer_types", None):
        part_base.config.layer_types = [kinds[i] for i in kept]
    return part


def stack(base: Any) -> tuple[str, nn.ModuleList]:
    """Name and layers of a base model's stack.

    Raises:
        Unsupported: It is not found.
    """
    for name, module in base.named_children():
        count = base.config.get_text_config().num_hidden_layers
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return name, module
    raise Unsupported(f"the layers of {type(base).__name__} are not found")


def _spread(count: int, kept: int) -> list[int]:
    """The first one, where the cache counts its tokens; of several, the last one too."""
    return [round(i * (count - 1) / max(1, kept - 1)) for i in range(kept)]


def shallow(module: Any) -> Any:
    """Another module with the same parts, whose list of parts is its own."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    twin.__dict__.pop("forward", None)  # compiled for the whole model
    return twin

"""A model that leaves out its last layers for tokens of which it is already sure.

The head is asked on the hidden state of an intermediate layer, and a token whose most probable
successor is probable enough keeps that state; the layers that are left out get their keys and
values from it, so that later tokens find a whole cache (Schuster et al., Confident Adaptive
Language Modeling, 2022; their softmax measure is the margin between the first two).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache

from autotune.bench.engines.model_draft import shallow, stack
from autotune.plugin import Unsupported

_NORMS = ("norm", "ln_f")
"""Where base models keep what comes between the last layer and the head."""


class Exits:
    """Which tokens are sure in the pass that runs, and what was left out so far.

    Each sequence of a batch exits by itself: what the others do never changes its numbers, so a
    score holds for every batch size. A layer is left out once all of them are sure. The prompt
    runs through all layers.
    """

    def __init__(self, model: Any, confidence: float, share: float, places: str) -> None:
        """
        Args:
            model: A causal language model of transformers; it is not changed.
            confidence: The probability of the next token from which on it is sure.
            share: Of the layers, that always run.
            places: ``first``: the head is asked once, after these; ``every``: after each further
                layer, too.

        Raises:
            Unsupported: There is no layer to leave out, or the head cannot be asked.
        """
        name, layers = stack(model.base_model)
        self._count, self._confidence = len(layers), confidence
        self._always = always_run(self._count, share)
        self._asked = {self._always - 1}
        if places == "every":
            self._asked = set(range(self._always - 1, self._count - 1))
        self._norm, self._head = _head_of(model)
        self.model = self._twin(model, name, layers)
        """Drives as the model does; holds no weights of its own."""
        self.steps = 0
        """Decode steps."""
        self.left_out = 0
        """Layers that were left out in them."""
        self._deciding = self._all_sure = False
        self._sure: torch.Tensor | None = None
        self._logits = torch.empty(0)

    @property
    def words(self) -> str:
        """What was left out, for a person; empty before the first decode step."""
        if not self.steps:
            return ""
        share = self.left_out / (self.steps * self._count)
        return f"early exit: {share:.1%} of the layers were left out in {self.steps} decode steps"

    def _twin(self, model: Any, name: str, layers: nn.ModuleList) -> Any:
        twin, base, head = shallow(model), shallow(model.base_model), shallow(self._head)
        mine = list(layers)
        for index in range(self._always - 1, self._count):
            mine[index] = shallow(layers[index])
            mine[index].forward = partial(self._run_layer, index, layers[index])
        head.forward = self._run_head
        base._modules[name] = nn.ModuleList(mine)
        twin._modules[model.base_model_prefix] = base
        own = next(key for key, module in model.named_children() if module is self._head)
        twin._modules[own] = head
        return twin

    def _run_layer(
        self, index: int, layer: Any, hidden: torch.Tensor, *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        given = (*args, *kwargs.values())
        cache = next((value for value in given if isinstance(value, Cache)), None)
        if index == self._always - 1:
            self._begin(cache, hidden.shape[1])
        if not self._deciding:
            return self._plain(layer, hidden, args, kwargs)
        if self._all_sure:
            self._leave_out(layer, hidden, cache, args, kwargs)
            return hidden
        output = self._plain(layer, hidden, args, kwargs)
        if self._sure is not None:
            output = torch.where(self._sure, hidden, output)
        if index in self._asked:
            self._ask(output)
        return output

    def _begin(self, cache: Cache | None, tokens: int) -> None:
        """Several tokens that go into a cache are a prompt; without one they are a text that is
        scored, each token as if it were decoded."""
        self._deciding, self._all_sure, self._sure = cache is None or tokens == 1, False, None
        self.steps += cache is not None and tokens == 1

    @staticmethod
    def _plain(layer: Any, hidden: torch.Tensor, args: Any, kwargs: Any) -> torch.Tensor:
        output: torch.Tensor = layer(hidden, *args, **kwargs)
        return output

    def _ask(self, hidden: torch.Tensor) -> None:
        self._logits = self._head(self._norm(hidden))
        exact = self._logits.float()
        top = (exact.amax(-1, keepdim=True) - exact.logsumexp(-1, keepdim=True)).exp()
        sure = top >= self._confidence
        self._sure = sure if self._sure is None else self._sure | sure
        self._all_sure = bool(self._sure.all())

    def _leave_out(
        self, layer: Any, hidden: torch.Tensor, cache: Cache | None, args: Any, kwargs: Any
    ) -> None:
        if cache is None:
            return
        self.left_out += 1
        keeping = _Keeping(cache)
        swapped = [keeping if value is cache else value for value in args]
        named = {key: keeping if value is cache else value for key, value in kwargs.items()}
        try:
            layer(hidden, *swapped, **named)
        except _Kept:
            return
        raise Unsupported(f"{type(layer).__name__} keeps no keys and values for later tokens")

    def _run_head(self, hidden: torch.Tensor) -> torch.Tensor:
        """What it said when it was asked last, where that is what the model says; it is kept no
        longer, for the logits of a whole text are large."""
        asked, self._logits = self._logits, torch.empty(0)
        if self._deciding and self._all_sure:
            return asked
        del asked
        logits: torch.Tensor = self._head(hidden)
        return logits


class _Kept(Exception):
    """A layer's keys and values are in the cache: the rest of it need not run."""


class _Keeping:
    """Stands for a cache in a layer that is left out: whatever the architecture does to make keys
    and values of hidden states, it is over once it updates its cache."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def update(self, *args: Any, **kwargs: Any) -> None:
        self._cache.update(*args, **kwargs)
        raise _Kept

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def always_run(layers: int, share: float) -> int:
    """How many of the first layers run for every token.

    Raises:
        Unsupported: All of them.
    """
    count = max(1, round(share * layers))
    if count >= layers:
        raise Unsupported(
            f"{share:g} of {layers} layers are all of them: none is left that could be left out"
        )
    return count


def _head_of(model: Any) -> tuple[Any, Any]:
    """The final norm and the head, tried on a few tokens: they must give the logits.

    Raises:
        Unsupported: They are not found, or the model does something else besides.
    """
    base, head = model.base_model, model.get_output_embeddings()
    norm = next((getattr(base, name) for name in _NORMS if hasattr(base, name)), None)
    if norm is None or head is None or "forward" in vars(model) or hasattr(model, "_orig_mod"):
        raise Unsupported(f"the head of {type(model).__name__} cannot be asked between layers")
    seen: list[torch.Tensor] = []
    hook = norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        tokens = torch.arange(4, device=model.device)[None]  # one may be padding, which is zeros
        logits = model(input_ids=tokens, use_cache=False).logits
    finally:
        hook.remove()
    if len(seen) != 1 or not torch.allclose(head(norm(seen[0])).float(), logits.float()):
        raise Unsupported(
            f"{type(model).__name__} does more between its last layer and its logits than the "
            "final norm and the head: they cannot be asked between layers"
        )
    return norm, head

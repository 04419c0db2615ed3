"""The default engine: a transformers model driven by our own decode loop."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch

from autotune.bench.engines.base import Engine, Passes, Timing
from autotune.bench.tokens import Batch
from autotune.messages import Workload
from autotune.plugin import Unsupported


def build(model: Any, task: str, workload: Workload) -> Engine:
    """The torch engine for a task."""
    if task == "causal-lm":
        return TorchGenerator(model, workload.new_tokens)
    return TorchEncoder(model, task)


def _synchroniser(device: torch.device) -> Callable[[], None]:
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


class _HostTicks:
    """When each step ended, where a step is over as soon as its call is."""

    def __init__(self) -> None:
        self._seconds = [time.perf_counter()]

    def tick(self) -> None:
        self._seconds.append(time.perf_counter())

    def gaps(self) -> tuple[float, ...]:
        return tuple(later - earlier for earlier, later in pairwise(self._seconds))


class _DeviceTicks:
    """When each step ended on the GPU, by events in its stream: nothing waits for them before
    the request is over."""

    def __init__(self) -> None:
        self._events: list[torch.cuda.Event] = []
        self.tick()

    def tick(self) -> None:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._events.append(event)

    def gaps(self) -> tuple[float, ...]:
        milliseconds = (earlier.elapsed_time(later) for earlier, later in pairwise(self._events))
        return tuple(value / 1000 for value in milliseconds)


class TorchGenerator(Engine):
    """Greedy decoding of exactly ``new_tokens`` tokens with a key-value cache."""

    run_args: Mapping[str, Any] = {"batch_size": 1, "cache": "dynamic"}

    def __init__(self, model: Any, new_tokens: int) -> None:
        self._model = model
        self._new_tokens = new_tokens
        self._synchronise = _synchroniser(model.device)
        self._make_ticks = _DeviceTicks if model.device.type == "cuda" else _HostTicks
        self._static_caches: dict[tuple[int, int], Any] = {}
        self._finite = True
        plain = getattr(model, "_orig_mod", model)  # what torch.compile wraps, if it does
        accepted = inspect.signature(type(plain).forward).parameters
        self._last_only = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}

    @property
    def last_finite(self) -> bool:
        """Whether the latest request's logits were finite at both ends."""
        return self._finite

    @torch.inference_mode()
    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One prefill and ``new_tokens - 1`` decode steps."""
        ids = prompts["input_ids"]
        cache = self._cache(run_args["cache"], *ids.shape)
        self._synchronise()
        start = time.perf_counter()
        logits = self._step(ids, cache)
        token = logits.argmax(-1)
        first_tokens = token.cpu()
        first = time.perf_counter()
        if self.on_first_token is not None:
            self.on_first_token()
        generated = [token]
        ticks = self._make_ticks()
        for _ in range(self._new_tokens - 1):
            logits = self._step(generated[-1], cache)
            generated.append(logits.argmax(-1))
            ticks.tick()
        torch.cat(generated[1:] or [first_tokens], dim=1).cpu()
        last = time.perf_counter()
        self._finite = bool(torch.isfinite(logits).all())
        return Timing(
            start, first, last, ids.shape[0], ids.shape[1], self._new_tokens, ticks.gaps()
        )

    def _step(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits of the last position, ``[batch, 1, vocabulary]``."""
        output = self._model(
            input_ids=ids, past_key_values=cache, use_cache=True, **self._last_only
        )
        logits: torch.Tensor = output.logits[:, -1:]
        return logits

    def _cache(self, kind: str, batch: int, prompt_tokens: int) -> Any:
        from transformers import DynamicCache, StaticCache

        if kind == "dynamic":
            return DynamicCache(config=self._model.config)
        if kind != "static":
            raise Unsupported(f"no key-value cache kind {kind!r}; allowed: dynamic, static")
        # One cache for a shape, emptied between requests: CUDA graphs need its address to stay.
        key = (batch, prompt_tokens)
        if key not in self._static_caches:
            length = prompt_tokens + self._new_tokens
            cache = StaticCache(config=self._model.config, max_cache_len=length)
            self._allocate(cache, batch)
            self._static_caches = {key: cache}
        else:
            self._static_caches[key].reset()
        return self._static_caches[key]

    def _allocate(self, cache: Any, batch: int) -> None:
        """Outside of any compiled call: inside one its address would not be marked as static,
        and torch would leave CUDA graphs out with no more than a log line."""
        config = self._model.config.get_text_config()
        heads = config.num_attention_heads
        cache.early_initialization(
            batch,
            getattr(config, "num_key_value_heads", None) or heads,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            self._model.dtype,
            self._model.device,
        )

    def passes(self, prompts: Batch) -> Passes:
        """With a dynamic cache, whatever the recipe's: the model's work is the same."""
        ids = prompts["input_ids"]
        cache = self._cache("dynamic", *ids.shape)
        return Passes(
            prompt=lambda: self._step(ids, cache),
            step=lambda: self._step(ids[:, -1:], cache),
            steps=self._new_tokens - 1,
            cache_bytes=lambda: sum(t.nbytes for x in cache.layers for t in (x.keys, x.values)),
        )

    def forget(self) -> None:
        """Frees the static cache of the latest shape."""
        self._static_caches.clear()

    @torch.inference_mode()
    def outputs(self, batch: Batch) -> torch.Tensor:
        """Logits of all positions, teacher-forced, without a cache."""
        output = self._model(**batch, use_cache=False)
        logits: torch.Tensor = output.logits.float()
        return logits


class TorchEncoder(Engine):
    """One forward pass of an encoder or classifier."""

    # An encoder has no cache; plugins that ask for one for generation may say so here too.
    run_args: Mapping[str, Any] = {"batch_size": 1, "cache": None}

    def __init__(self, model: Any, task: str) -> None:
        self._model = model
        self._task = task
        self._synchronise = _synchroniser(model.device)
        self._finite = True

    @property
    def last_finite(self) -> bool:
        """Whether the latest forward pass gave finite numbers."""
        return self._finite

    @torch.inference_mode()
    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One forward pass, its result on the host."""
        self._synchronise()
        start = time.perf_counter()
        result = self.outputs(prompts).cpu()
        last = time.perf_counter()
        self._finite = bool(torch.isfinite(result).all())
        sequences, tokens = prompts["input_ids"].shape
        return Timing(start, last, last, sequences, tokens, 0)

    def passes(self, prompts: Batch) -> Passes:
        """The one forward pass."""
        return Passes(prompt=lambda: self._model(**prompts))

    @torch.inference_mode()
    def outputs(self, batch: Batch) -> torch.Tensor:
        """Class logits, or the mean of the last hidden states over real tokens."""
        output = self._model(**batch)
        if self._task == "sequence-classification":
            logits: torch.Tensor = output.logits.float()
            return logits
        hidden: torch.Tensor = output.last_hidden_state.float()
        mask = batch["attention_mask"].unsqueeze(-1)
        return (hidden * mask).sum(1) / mask.sum(1)

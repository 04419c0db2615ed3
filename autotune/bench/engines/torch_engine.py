"""The default engine: a transformers model driven by our own decode loop."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from autotune.bench.adapters import KEY, Adapters, by_adapter
from autotune.bench.caches import LOSSY, growing_cache
from autotune.bench.engines.divided import for_stage, require_plain
from autotune.bench.engines.early_exit import Exits
from autotune.bench.engines.intake import Ahead, open_intake
from autotune.bench.engines.lookup import look_up
from autotune.bench.engines.model_draft import ModelDraft, part_of
from autotune.bench.engines.rows import Rows
from autotune.bench.engines.serving import SERVING, Server, check_serving
from autotune.bench.engines.ticks import DeviceTicks, HostTicks, Ticks, synchroniser
from autotune.bench.engines.torch_encoder import TorchEncoder
from autotune.engine import Batch, Engine, Passes, Request, TextRequest, Timing
from autotune.messages import Workload
from autotune.plugin import Unsupported


def build(model: Any, task: str, workload: Workload, layers: int | None = None) -> Engine:
    """The torch engine for a task.

    Args:
        model: With all transforms done; it is given the workload's adapters.
        task: What it is served for.
        workload: What it will serve.
        layers: Of the model before any transform.

    Raises:
        Unsupported: An adapter does not fit the model as plugins have made it.
    """
    if task != "causal-lm":
        return TorchEncoder(model, task)
    files = workload.adapters
    adapters = Adapters(model, files, layers) if files else None
    return TorchGenerator(model, workload.new_tokens, adapters)


Guess = Callable[[torch.Tensor, int], torch.Tensor]
"""Prompts with what was generated, and how many tokens to guess, to at most so many of them."""


class TorchGenerator(Engine):
    """Greedy decoding of exactly ``new_tokens`` tokens with a key-value cache."""

    run_args: Mapping[str, Any] = {
        "batch_size": 1,
        "cache": "dynamic",
        "cache_bits": 8,
        "cache_window": 256,
        "draft_tokens": 0,
        "draft_layers": 0.0,
        "draft_assistant": False,
        "exit_confidence": 0.0,
        "exit_share": 0.5,
        "exit_places": "first",
        **SERVING,
    }

    def __init__(self, model: Any, new_tokens: int, adapters: Adapters | None = None) -> None:
        self._model = model
        self._new_tokens = new_tokens
        self._adapters = adapters
        self._synchronise = synchroniser(model.device)
        self._make_ticks = DeviceTicks if model.device.type == "cuda" else HostTicks
        self._static_caches: dict[tuple[int, int], Any] = {}
        self._drafters: dict[float, TorchGenerator] = {}
        """Share of the layers → what drafts with them; 0 is the assistant."""
        self._exits: dict[tuple[Any, ...], tuple[Exits, TorchGenerator]] = {}
        self._ahead = Ahead()
        self._finite = True
        plain = getattr(model, "_orig_mod", model)  # what torch.compile wraps, if it does
        accepted = inspect.signature(type(plain).forward).parameters
        self._keeps_logits = "logits_to_keep" in accepted

    @property
    def last_finite(self) -> bool:
        """Whether the latest request's logits were finite at both ends."""
        return self._finite

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """As the base class, and refuses drafts without a cache that forgets those not taken."""
        found = super().resolve(given)
        if found["draft_tokens"] and found["cache"] != "dynamic":
            raise Unsupported(
                f"speculative decoding takes tokens back, which a {found['cache']} key-value "
                "cache cannot: it needs the dynamic one"
            )
        if found["draft_tokens"] and found["exit_confidence"]:
            raise Unsupported(
                "guesses are checked several at once, and a token can leave out layers only by "
                "itself: speculative decoding and early exit do not go together"
            )
        require_plain(self._model, found)
        return found

    @torch.inference_mode()
    def request(self, prompts: Batch, run_args: Mapping[str, Any]) -> Timing:
        """One prefill, and decoding until there are ``new_tokens`` tokens."""
        if run_args["exit_confidence"]:
            engine, plain = self._exiting(run_args)
            engine.on_first_token, engine.on_tokens = self.on_first_token, self.on_tokens
            timing = engine.request(prompts, plain)
            self._finite, self.last_tokens = engine._finite, engine.last_tokens
            return timing
        ids = prompts["input_ids"]
        cache = self._cache(run_args, *ids.shape)
        self._use(())
        self._synchronise()
        start = time.perf_counter()
        logits = self._step(ids, cache)
        token = logits.argmax(-1)
        token.cpu()
        first = time.perf_counter()
        if self.on_first_token is not None:
            self.on_first_token()
        if self.on_tokens is not None:
            self.on_tokens(token.tolist())
        ticks, tokens = self._make_ticks(), token[:, :0]
        if self._new_tokens > 1:
            if drafts := run_args["draft_tokens"]:
                words = torch.cat([ids, token], dim=1)
                guess = self._drafts_of(run_args)
                tokens, logits = self._decode_drafts(words, cache, ticks, drafts, guess)
            else:
                tokens, logits = self._decode(token, cache, ticks)
            tokens.cpu()
        last = time.perf_counter()
        self.last_tokens = torch.cat([token, tokens], dim=1)
        self._finite = bool(torch.isfinite(logits).all())
        return Timing(
            start, first, last, ids.shape[0], ids.shape[1], self._new_tokens, ticks.gaps()
        )

    def generate(
        self, prompts: Batch, run_args: Mapping[str, Any], new_tokens: int
    ) -> torch.Tensor:
        """As ``request`` does it, with another number of tokens."""
        usual, self._new_tokens = self._new_tokens, new_tokens
        try:
            self.request(prompts, run_args)
        finally:
            self._new_tokens = usual
        assert self.last_tokens is not None
        return self.last_tokens

    @torch.inference_mode()
    def serve(
        self, requests: Sequence[Request | TextRequest], run_args: Mapping[str, Any]
    ) -> list[Timing]:
        """As the base class; each step's tokens are copied to the host before the next step."""
        check_serving(run_args, self._model)
        device, kernel = self._model.device, self._model.config._attn_implementation
        open_intake(self._ahead, requests, run_args, device)
        server = Server(self._rows, device, kernel, run_args, self._ahead)
        self._synchronise()
        timings = server.serve(requests)
        self._finite = bool(torch.isfinite(server.logits).all())
        return timings

    def _rows(self) -> Rows:
        return Rows(self._serve_step, lambda: growing_cache(self._model.config, self.run_args))

    def _decode(
        self, token: torch.Tensor, cache: Any, ticks: Ticks
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One token a step.

        Returns:
            All tokens after the first, and the last step's logits.
        """
        generated = [token]
        for _ in range(self._new_tokens - 1):
            logits = self._step(generated[-1], cache)
            generated.append(logits.argmax(-1))
            ticks.tick()
            if self.on_tokens is not None:
                self.on_tokens(generated[-1].tolist())
        return torch.cat(generated[1:], dim=1), logits

    def _drafts_of(self, run_args: Mapping[str, Any]) -> Guess:
        share = float(run_args["draft_layers"])
        if not (share or run_args["draft_assistant"]):
            return look_up
        if share not in self._drafters:
            smaller = part_of(self._model, share) if share else self._model.assistant
            self._drafters[share] = TorchGenerator(smaller, self._new_tokens)
        drafter = self._drafters[share]
        config = self._model.config if share else drafter._model.config
        return ModelDraft(drafter._step, growing_cache(config, self.run_args)).guess

    def _exiting(self, run_args: Mapping[str, Any]) -> tuple[TorchGenerator, dict[str, Any]]:
        """What drives the model with exits, and the other run arguments."""
        key = tuple(run_args[f"exit_{name}"] for name in ("confidence", "share", "places"))
        if key not in self._exits:
            exits = Exits(self._model, *key)
            self._exits[key] = exits, TorchGenerator(exits.model, self._new_tokens)
        engine = self._exits[key][1]
        engine._new_tokens = self._new_tokens
        return engine, {**run_args, "exit_confidence": 0.0}

    def _decode_drafts(
        self, words: torch.Tensor, cache: Any, ticks: Ticks, drafts: int, guess: Guess
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Checks guesses: what the model would have said itself is taken, up to the first one in
        any sequence that it would not, and one token more. Arguments and result as of ``_decode``,
        with the prompts before the first token."""
        begin = words.shape[1]
        end = begin + self._new_tokens - 1
        while words.shape[1] < end:
            draft = guess(words, min(drafts, end - words.shape[1] - 1))
            fed = torch.cat([words[:, -1:], draft], dim=1)
            logits = self._step(fed, cache, keep=fed.shape[1])
            said = logits.argmax(-1)
            right = (said[:, :-1] == draft).long().cumprod(dim=1).sum(dim=1)
            taken = int(right.min()) + 1
            words = torch.cat([words, said[:, :taken]], dim=1)
            if refused := fed.shape[1] - taken:
                cache.crop(-refused)
            ticks.tick(taken)
            if self.on_tokens is not None:
                self.on_tokens(said[:, :taken].tolist())
        return words[:, begin:], logits

    def _use(self, rows: Sequence[int | None]) -> None:
        if self._adapters is not None:
            self._adapters.use(rows)

    def _serve_step(self, *inputs: Any, adapters: Sequence[int | None], **more: Any) -> Any:
        """As ``_step``, each row with its own adapter."""
        self._use(adapters)
        return self._step(*inputs, **more)

    def _step(
        self, ids: torch.Tensor, cache: Any, keep: int | torch.Tensor = 1, **more: Any
    ) -> torch.Tensor:
        """Logits of the last positions, or of those given, ``[batch, keep, vocabulary]``."""
        if self._keeps_logits:
            more["logits_to_keep"] = keep
        output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **more)
        logits: torch.Tensor = output.logits
        if isinstance(keep, int):
            return logits[:, -keep:]
        return logits if self._keeps_logits else logits[:, keep]

    def _cache(self, run_args: Mapping[str, Any], batch: int, prompt_tokens: int) -> Any:
        from transformers import StaticCache

        if run_args["cache"] != "static":
            cache = growing_cache(self._model.config, run_args)
            return for_stage(cache, self._model)
        # One cache for a shape, emptied between requests: CUDA graphs need its address to stay.
        length = prompt_tokens + self._new_tokens
        key = (batch, length)
        if key not in self._static_caches:
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
        cache = growing_cache(self._model.config, self.run_args)
        return Passes(
            prompt=lambda: self._step(ids, cache),
            step=lambda: self._step(ids[:, -1:], cache),
            steps=self._new_tokens - 1,
            cache_bytes=lambda: sum(t.nbytes for x in cache.layers for t in (x.keys, x.values)),
        )

    def forget(self) -> None:
        """Frees the static cache of the latest shape, ends the thread or process that tokenizes;
        steps with exits are counted anew."""
        self._ahead.close()
        self._static_caches.clear()
        self._exits.clear()

    def notes(self) -> tuple[str, ...]:
        """How many layers were left out since ``forget``, and what tokenizing takes."""
        exits = tuple(exits.words for exits, _ in self._exits.values() if exits.words)
        return (*exits, *self._ahead.notes)

    def alters_outputs(self, run_args: Mapping[str, Any]) -> bool:
        """A cache that loses something of what it holds, or tokens that leave out layers."""
        return run_args["cache"] in LOSSY or bool(run_args["exit_confidence"])

    def plain_steps(self, run_args: Mapping[str, Any]) -> bool:
        """Neither a lossy cache nor exits nor guesses."""
        return not (self.alters_outputs(run_args) or run_args["draft_tokens"])

    @torch.inference_mode()
    def outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        """Logits of all positions, teacher-forced; without a cache, unless it is a lossy one."""
        if KEY in batch:
            return self._outputs_by_adapter(batch, run_args)
        self._use(())
        return self._outputs(batch, run_args)

    def _outputs_by_adapter(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        places, found = list[torch.Tensor](), list[torch.Tensor]()
        for number, rows, part in by_adapter(batch):
            self._use([number])
            places.append(rows)
            found.append(self._outputs(part, run_args))
        return torch.cat(found)[torch.cat(places).argsort()]

    def _outputs(self, batch: Batch, run_args: Mapping[str, Any]) -> torch.Tensor:
        if run_args["exit_confidence"]:
            engine, plain = self._exiting(run_args)
            return engine.outputs(batch, plain)
        if self.alters_outputs(run_args):
            return self._outputs_through(self._cache(run_args, 0, 0), batch)
        output = self._model(**batch, use_cache=False)
        logits: torch.Tensor = output.logits.float()
        return logits

    def _outputs_through(self, cache: Any, batch: Batch) -> torch.Tensor:
        """Token by token, as in decoding: what comes in one pass might see more of itself."""
        ids = batch["input_ids"]
        steps = [self._step(ids[:, i : i + 1], cache) for i in range(ids.shape[1])]
        return torch.cat(steps, dim=1).float()

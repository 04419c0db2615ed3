"""vLLM's offline engine; no plugin."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.plugin import Context, Unsupported
from autotune_plugins._serving_engine import SEQUENCES, ServingEngine, Tokens

_BLOCK = 16
"""Tokens whose keys and values vLLM keeps together."""


class VllmEngine(ServingEngine):
    """In this process: see ``Engine.env``."""

    library = "vLLM"

    def _load(self, folder: Path, dtype: str, config: Any, context: Context) -> None:
        from vllm import LLM

        length = context.prompt_tokens + context.new_tokens
        reserved = SEQUENCES * _cache_bytes(config, dtype, length)
        share = (self.own_weights().held_bytes + reserved) / context.device.memory_bytes
        self._numbers = itertools.count()
        self._llm = LLM(
            model=str(folder),
            skip_tokenizer_init=True,
            # auto would load float32 as float16.
            dtype=dtype,
            seed=context.seed,
            max_model_len=length,
            max_num_seqs=SEQUENCES,
            enable_prefix_caching=False,
            # By default it takes nine tenths of the GPU, where the baseline is as well.
            kv_cache_memory_bytes=reserved,
            gpu_memory_utilization=min(0.9, max(0.1, share)),
        )
        held = str(self._llm.llm_engine.model_config.dtype).removeprefix("torch.")
        if held != dtype:
            raise Unsupported(f"vLLM was asked for {dtype} weights and holds {held}")
        context.notes.append(
            f"vLLM reserves the keys and values of {SEQUENCES} sequences in advance: "
            f"{reserved / 2**20:.0f} MiB of device memory"
        )

    def _sampling(self, **more: Any) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            temperature=0, max_tokens=self._new_tokens, ignore_eos=True, detokenize=False, **more
        )

    def _progress(self, prompts: Tokens) -> Iterator[int]:
        from vllm import TokensPrompt

        engine = self._llm.llm_engine
        made: dict[str, int] = {}
        for row in prompts:
            made[name := str(next(self._numbers))] = 0
            engine.add_request(name, TokensPrompt(prompt_token_ids=list(row)), self._sampling())
        while engine.has_unfinished_requests():
            for output in engine.step():
                made[output.request_id] = len(output.outputs[0].token_ids)
            yield min(made.values())

    def _log_probabilities(self, prompts: Tokens) -> Iterator[float]:
        from vllm import TokensPrompt

        given = [TokensPrompt(prompt_token_ids=list(row)) for row in prompts]
        for answer in self._llm.generate(given, self._sampling(logprobs=1), use_tqdm=False):
            told = answer.outputs[0]
            for token, likely in zip(told.token_ids, told.logprobs, strict=True):
                yield likely[token].logprob


def _cache_bytes(config: Any, dtype: str, tokens: int) -> int:
    """Keys and values of one sequence, in whole blocks and one to spare."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    kept = (-(-tokens // _BLOCK) + 1) * _BLOCK
    width = 4 if dtype == "float32" else 2
    return int(2 * text.num_hidden_layers * heads * size * kept * width)

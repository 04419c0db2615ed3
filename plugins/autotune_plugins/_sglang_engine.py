"""SGLang's offline engine; no plugin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autotune.plugin import Context
from autotune_plugins._serving_engine import SEQUENCES, ServingEngine, Tokens

_TO_SPARE = 8
"""Tokens of a sequence beyond those that are asked for."""


class SglangEngine(ServingEngine):
    """A scheduler in a process of its own, driven from this one."""

    library = "SGLang"

    def _load(self, folder: Path, dtype: str, config: Any, context: Context) -> None:
        import sglang

        length = context.prompt_tokens + context.new_tokens + _TO_SPARE
        self._engine = sglang.Engine(
            model_path=str(folder),
            skip_tokenizer_init=True,
            dtype=dtype,
            random_seed=context.seed,
            context_length=length,
            max_running_requests=SEQUENCES,
            max_total_tokens=SEQUENCES * length,
            disable_radix_cache=True,
            log_level="error",
        )

    @property
    def elsewhere(self) -> str:
        """Its scheduler holds the model."""
        return "SGLang holds the model in a process of its own, and does not tell what it takes"

    def _generate(self, prompts: Tokens, **more: Any) -> Any:
        sampling = {"temperature": 0, "max_new_tokens": self._new_tokens, "ignore_eos": True}
        rows = [list(row) for row in prompts]
        return self._engine.generate(input_ids=rows, sampling_params=sampling, **more)

    def _progress(self, prompts: Tokens) -> Iterator[int]:
        made = [0] * len(prompts)
        for answer in self._generate(prompts, stream=True):
            made[answer["index"]] = answer["meta_info"]["completion_tokens"]
            yield min(made)

    def _log_probabilities(self, prompts: Tokens) -> Iterator[float]:
        for answer in self._generate(prompts, return_logprob=True):
            for logarithm, *_ in answer["meta_info"]["output_token_logprobs"]:
                yield logarithm

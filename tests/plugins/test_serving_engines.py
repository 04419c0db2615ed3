"""vLLM and SGLang need a GPU: what they are asked for, and what is made of their answers."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.engine import NoOutputs
from autotune.plugin import Context, Unsupported
from autotune_plugins.engine import Engine

ContextOf = Callable[..., Context]


def prompts(sequences: int) -> dict[str, torch.Tensor]:
    return {"input_ids": torch.arange(3, 3 + 20 * sequences).reshape(sequences, 20)}


class VllmStandIn(types.ModuleType):
    """The names of vLLM that are used, since it needs a GPU; records what it is given."""

    def __init__(self, told: float = -0.5, dtype: torch.dtype = torch.float32) -> None:
        super().__init__("vllm")
        self.given: list[dict[str, Any]] = []
        self.prompts: list[dict[str, Any]] = []
        self.loaded: list[str] = []
        self.llm_engine = self
        self.model_config = types.SimpleNamespace(dtype=dtype)
        self.SamplingParams = types.SimpleNamespace
        self.TokensPrompt = dict
        self._told = told
        self._running: dict[str, tuple[Any, list[int]]] = {}

    def LLM(self, **given: Any) -> VllmStandIn:
        self.given.append(given)
        self.loaded = sorted(path.name for path in Path(given["model"]).iterdir())
        return self

    def add_request(self, name: str, prompt: dict[str, Any], sampling: Any) -> None:
        self.prompts.append(prompt)
        self._running[name] = (sampling, [])

    def has_unfinished_requests(self) -> bool:
        return bool(self._running)

    def step(self) -> Iterator[Any]:
        for name, (sampling, tokens) in list(self._running.items()):
            tokens.append(7)
            if len(tokens) == sampling.max_tokens:
                del self._running[name]
            answer = types.SimpleNamespace(token_ids=list(tokens))
            yield types.SimpleNamespace(request_id=name, outputs=[answer])

    def generate(self, prompts: Any, sampling: Any, use_tqdm: bool) -> list[Any]:
        assert sampling.logprobs == 1
        likely = {7: types.SimpleNamespace(logprob=self._told)}
        count = sampling.max_tokens
        answer = types.SimpleNamespace(token_ids=[7] * count, logprobs=[likely] * count)
        return [types.SimpleNamespace(outputs=[answer]) for _ in prompts]


def serving(
    library: types.ModuleType, monkeypatch: pytest.MonkeyPatch, context: Context, model: Any
) -> Any:
    monkeypatch.setitem(sys.modules, library.__name__, library)
    return Engine().engine(model, {"backend": library.__name__}, context)


@pytest.fixture
def on_a_gpu(llama: Any, context_of: ContextOf, new_gpu: Device) -> Context:
    context: Context = context_of(llama, new_gpu)
    return replace(context, prompt_tokens=20, new_tokens=4)


def test_vllm_is_asked_for_exactly_these_tokens(
    llama: Any, on_a_gpu: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = VllmStandIn()
    engine = serving(library, monkeypatch, on_a_gpu, llama)
    (given,) = library.given
    assert (given["dtype"], given["max_model_len"]) == ("float32", 24)
    assert (given["enable_prefix_caching"], given["skip_tokenizer_init"]) == (False, True)
    # 4 layers, keys and values of 2 heads of 16 floats, 24 tokens in blocks of 16 and one more.
    assert given["kv_cache_memory_bytes"] == 64 * 2 * 4 * 2 * 16 * 4 * 48
    assert "config.json" in library.loaded
    assert "model.safetensors" in library.loaded
    calls: list[int] = []
    engine.on_first_token = lambda: calls.append(1)
    batch = prompts(3)
    timing = engine.request(batch, {"batch_size": 3})
    assert [p["prompt_token_ids"] for p in library.prompts] == batch["input_ids"].tolist()
    assert (timing.sequences, timing.prompt_tokens, timing.output_tokens) == (3, 20, 4)
    assert len(timing.gaps) == 3
    assert timing.start < timing.first < timing.last
    assert calls == [1]
    assert engine.last_finite
    assert engine.ran() == Engine().expects({"backend": "vllm"})
    assert engine.elsewhere == ""
    assert {p.device.type for p in llama.parameters()} == {"meta"}
    with pytest.raises(NoOutputs, match="not the logits of the whole vocabulary"):
        engine.outputs(batch, {})


def test_vllm_with_numbers_that_are_not_finite_or_another_format_is_noticed(
    make_llama: Callable[..., Any], on_a_gpu: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = serving(VllmStandIn(told=math.nan), monkeypatch, on_a_gpu, make_llama())
    engine.request(prompts(1), {})
    assert not engine.last_finite
    with pytest.raises(Unsupported, match="asked for float32 weights and holds float16"):
        serving(VllmStandIn(dtype=torch.float16), monkeypatch, on_a_gpu, make_llama())


def test_vllm_runs_in_this_process() -> None:
    assert Engine().env({"backend": "vllm"}) == {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
    assert Engine().env({"backend": "sglang"}) == {}


class SglangStandIn(types.ModuleType):
    """As that of vLLM; ``short`` tokens are missing at the end."""

    def __init__(self, short: int = 0) -> None:
        super().__init__("sglang")
        self.given: dict[str, Any] = {}
        self.asked: list[dict[str, Any]] = []
        self._short = short

    def Engine(self, **given: Any) -> SglangStandIn:
        self.given = given
        return self

    def generate(self, **asked: Any) -> Any:
        self.asked.append(asked)
        count = asked["sampling_params"]["max_new_tokens"] - self._short
        rows = range(len(asked["input_ids"]))
        if asked.get("return_logprob"):
            told = [(-0.5, 7, None)] * count
            return [{"meta_info": {"output_token_logprobs": told}} for _ in rows]
        steps = ((row, made) for made in range(1, count + 1) for row in rows)
        return ({"index": r, "meta_info": {"completion_tokens": n}} for r, n in steps)


def test_sglang_is_asked_for_exactly_these_tokens(
    llama: Any, on_a_gpu: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = SglangStandIn()
    engine = serving(library, monkeypatch, on_a_gpu, llama)
    assert (library.given["disable_radix_cache"], library.given["dtype"]) == (True, "float32")
    batch = prompts(2)
    timing = engine.request(batch, {"batch_size": 2})
    (asked,) = library.asked
    assert asked["input_ids"] == batch["input_ids"].tolist()
    expected = {"temperature": 0, "max_new_tokens": 4, "ignore_eos": True}
    assert asked["sampling_params"] == expected
    assert len(timing.gaps) == 3
    assert engine.last_finite
    assert engine.ran() == Engine().expects({"backend": "sglang"})
    assert "process of its own" in engine.elsewhere


def test_too_few_tokens_are_an_error(
    llama: Any, on_a_gpu: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = serving(SglangStandIn(short=1), monkeypatch, on_a_gpu, llama)
    with pytest.raises(RuntimeError, match="SGLang gave 3 tokens, 4 were asked for"):
        engine.request(prompts(1), {})


def test_serving_libraries_are_for_causal_models(bert: Any, on_a_gpu: Context) -> None:
    context = replace(on_a_gpu, task="feature-extraction")
    with pytest.raises(Unsupported, match="vllm is used for causal language models"):
        Engine().engine(bert, {"backend": "vllm"}, context)

"""Traffic gives the tokens that each of its requests gives alone, whatever shares a pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.bench.engines import torch_engine
from autotune.bench.engines.serving import Server
from autotune.bench.engines.torch_encoder import TorchEncoder
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.engine import Request
from autotune.plugin import Unsupported
from greedy import greedy_tokens

LENGTHS = [(9, 5), (3, 12), (17, 1), (4, 7), (4, 4), (12, 9), (1, 6), (20, 3), (6, 10)]
"""Tokens of prompts and answers."""


def requests_of(model: Any, lengths: list[tuple[int, int]] = LENGTHS) -> list[Request]:
    generator = torch.Generator().manual_seed(4)
    size = model.config.vocab_size
    return [
        Request(torch.randint(3, size, (prompt,), generator=generator), new)
        for prompt, new in lengths
    ]


POLICIES = [
    {"batch_size": 1},
    {"batch_size": 4},
    {"batch_size": 4, "batching": "sorted", "batching_window": 2},
    {"batch_size": 3, "batching": "continuous"},
    {"batch_size": 64, "batching": "continuous"},
    {"batch_size": 4, "batching": "packed"},
]


@pytest.mark.parametrize("args", POLICIES, ids=str)
def test_each_request_gets_its_own_tokens(
    chaotic: Any, servers: list[Server], args: dict[str, Any]
) -> None:
    engine = TorchGenerator(chaotic, new_tokens=6)
    requests = requests_of(chaotic)
    for _ in range(2):  # nothing is left of the first time
        timings = engine.serve(requests, engine.resolve(args))
        assert [a.request for a in servers[-1].answers] == requests
        for answer, timing, (prompt, new) in zip(
            servers[-1].answers, timings, LENGTHS, strict=True
        ):
            assert answer.tokens == greedy_tokens(chaotic, answer.request)
            sizes = (timing.sequences, timing.prompt_tokens, timing.output_tokens)
            assert sizes == (1, prompt, new)
            assert timing.start < timing.first <= timing.last
            assert sum(timing.gaps) == pytest.approx(timing.last - timing.first)
    assert engine.last_finite


def test_eager_attention_ignores_what_a_row_lacks(chaotic: Any, servers: list[Server]) -> None:
    model = chaotic.float()  # transformers' eager attention cannot mask in double precision
    model.set_attn_implementation("eager")
    engine = TorchGenerator(model, new_tokens=6)
    engine.serve(requests_of(model), engine.resolve({"batch_size": 3, "batching": "continuous"}))
    for answer in servers[-1].answers:
        assert answer.tokens == greedy_tokens(model, answer.request)


def test_rows_of_a_model_with_learned_positions(servers: list[Server]) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=97, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, eos_token_id=None
    )
    model = GPT2LMHeadModel(config).eval()
    engine = TorchGenerator(model, new_tokens=6)
    requests = requests_of(model)
    engine.serve(requests, engine.resolve({"batch_size": 3, "batching": "continuous"}))
    for answer in servers[-1].answers:
        assert answer.tokens == greedy_tokens(model, answer.request)


class Counting(Server):
    """Keeps what each pass was fed: rows and tokens."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.sizes: list[int] = []

    def _note(self, batch: Any, said: Any, rows: Any) -> None:
        self.sizes.append(len(batch))
        super()._note(batch, said, rows)


def test_a_free_row_is_filled_at_once(chaotic: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def sizes(**args: Any) -> list[int]:
        made: list[Counting] = []
        monkeypatch.setattr(
            torch_engine, "Server", lambda *given: made.append(Counting(*given)) or made[-1]
        )
        engine = TorchGenerator(chaotic, new_tokens=6)
        requests = requests_of(chaotic, [(5, 2), (5, 6), (5, 2), (5, 2)])
        engine.serve(requests, engine.resolve({"batch_size": 2, **args}))
        return made[0].sizes

    # A batch goes on until its longest answer is done: the last two wait.
    assert sizes() == [2, 2, 2, 2, 2, 2, 2, 2]
    # Prompts, then one by one into the row that is free.
    assert sizes(batching="continuous") == [2, 2, 1, 2, 1, 2, 1, 1]


def test_a_window_is_sorted_by_prompts_greedy_tokens(chaotic: Any, servers: list[Server]) -> None:
    engine = TorchGenerator(chaotic, new_tokens=6)
    args = {"batch_size": 2, "batching": "sorted", "batching_window": 2}
    requests = requests_of(chaotic, [(9, 1), (3, 9), (8, 1), (2, 1), (1, 1)])
    timings = engine.serve(requests, engine.resolve(args))
    # Those of 2 and 3 tokens first; the fifth is not in the window, and its clock begins later.
    assert max(timings[1].first, timings[3].first) < min(timings[0].first, timings[2].first)
    assert timings[4].start > max(t.last for t in timings[:4])
    assert max(t.start for t in timings[:4]) < min(t.first for t in timings)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"cache": "static"}, "with the dynamic key-value cache"),
        ({"draft_tokens": 2}, "without guesses only"),
        ({"batching": "packed", "prefix_entries": 4}, "computed whole, known prefixes or not"),
    ],
)
def test_what_rows_cannot_do_is_refused(chaotic: Any, args: dict[str, Any], words: str) -> None:
    engine = TorchGenerator(chaotic, new_tokens=6)
    with pytest.raises(Unsupported, match=words):
        engine.serve(requests_of(chaotic), engine.resolve(args))


def test_an_engine_for_requests_that_are_alike_says_so(chaotic: Any) -> None:
    engine = TorchEncoder(chaotic, "feature-extraction")
    with pytest.raises(Unsupported, match="TorchEncoder runs requests of one length"):
        engine.serve(requests_of(chaotic), engine.resolve({}))


def test_batching_knows_which_kernels_can(chaotic: Any) -> None:
    chaotic.set_attn_implementation("eager")
    engine = TorchGenerator(chaotic, new_tokens=6)
    with pytest.raises(Unsupported, match="sdpa or flash_attention_2, not eager"):
        engine.serve(requests_of(chaotic), engine.resolve({"batching": "packed"}))
    chaotic.set_attn_implementation("flex_attention")
    with pytest.raises(Unsupported, match="flex_attention for CPUs does not compile"):
        engine.serve(requests_of(chaotic), engine.resolve({"batching": "continuous"}))


def test_packed_prompts_are_read_without_padding(
    chaotic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, ...]] = []
    engine = TorchGenerator(chaotic, new_tokens=1)
    step = engine._step

    def watched(ids: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        read.append(tuple(ids.shape))
        return step(ids, *given, **more)

    monkeypatch.setattr(engine, "_step", watched)
    requests = requests_of(chaotic, [(5, 1), (9, 1), (2, 1), (7, 1)])
    engine.serve(requests, engine.resolve({"batch_size": 4}))
    engine.serve(requests, engine.resolve({"batch_size": 4, "batching": "packed"}))
    assert read == [(4, 9), (1, 23)]


def test_layers_that_see_a_part_are_refused() -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    config = Gemma3TextConfig(
        vocab_size=97, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=8,
        layer_types=["sliding_attention", "full_attention"],
    )  # fmt: skip
    model = Gemma3ForCausalLM(config).eval()
    engine = TorchGenerator(model, new_tokens=6)
    with pytest.raises(Unsupported, match="this model's cache has DynamicSlidingWindowLayer"):
        engine.serve(requests_of(model), engine.resolve({}))

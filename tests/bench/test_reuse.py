"""What is kept between requests changes none of their tokens, and saves what it says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from autotune.bench.engines import torch_engine
from autotune.bench.engines.reuse import Answers, Lru, Prefixes
from autotune.bench.engines.serving import Server
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.meters.speed import Block, speed_values
from autotune.engine import Request, Timing


def prompt(*ids: int) -> torch.Tensor:
    return torch.tensor(ids)


def test_what_was_not_used_for_longest_is_dropped() -> None:
    kept: Lru[int] = Lru(2)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert (kept.get("a"), kept.get("b"), kept.get("c")) == (1, None, 3)
    nothing: Lru[int] = Lru(0)
    nothing.put("a", 1)
    assert nothing.get("a") is None


def test_an_answer_is_that_of_the_same_prompt_and_length() -> None:
    kept = Answers(4)
    kept.put(Request(prompt(5, 6), 3), [7, 8, 9])
    assert kept.find(Request(prompt(5, 6), 3)) == [7, 8, 9]
    assert kept.find(Request(prompt(5, 6), 2)) is None
    assert kept.find(Request(prompt(5, 7), 3)) is None
    assert kept.find(Request(prompt(5, 6), 3, adapter=0)) is None


def test_the_longest_known_part_of_a_prompt_is_found_but_its_last_token() -> None:
    def held(value: float, tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(torch.full((2, tokens, 4), value), torch.full((2, tokens, 4), -value))]

    kept = Prefixes(2)
    kept.put(Request(prompt(1, 2, 3, 4), 1), held(1.0, 4))
    kept.put(Request(prompt(1, 2, 9), 1), held(2.0, 3))
    for ids, value, tokens in (
        ((1, 2, 3, 7), 1.0, 3),
        ((1, 2, 9, 3, 4), 2.0, 3),
        ((1, 2, 3, 4), 1.0, 3),
        ((1, 5), 1.0, 1),
    ):
        ((keys, values),) = kept.find(Request(prompt(*ids), 2))
        assert keys.shape == values.shape == (2, tokens, 4)
        if value == 2.0 or tokens > 1:
            assert torch.equal(keys, -values)
            assert keys.unique().item() == value
    assert kept.find(Request(prompt(2, 2, 3), 1)) == []
    assert kept.find(Request(prompt(1), 1)) == []
    assert kept.find(Request(prompt(1, 2, 3, 4), 1, adapter=0)) == []
    assert Prefixes(0).find(Request(prompt(1, 2), 1)) == []


SHARED, LENGTHS = 6, [(9, 4), (7, 3), (12, 5), (8, 1), (15, 2), (10, 6)]


@pytest.fixture
def requests() -> list[Request]:
    """Six with a common beginning, of which two come again, one twice; one has another."""
    generator = torch.Generator().manual_seed(8)
    made = [Request(torch.randint(3, 97, (n,), generator=generator), new) for n, new in LENGTHS]
    for one in made[1:]:
        one.prompt[:SHARED] = made[0].prompt[:SHARED]
    other = Request(torch.randint(3, 97, (11,), generator=generator), 5)
    return [*made[:3], made[0], other, *made[3:], made[2], made[2]]


class Watched(Server):
    """Remembers how many tokens of prompts were computed."""

    made: Watched

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        Watched.made = self


class Counted(TorchGenerator):
    """Counts rows times tokens of the passes that read prompts."""

    read = 0

    def _step(self, ids: torch.Tensor, cache: Any, keep: int = 1, **more: Any) -> torch.Tensor:
        if ids.shape[1] > 1:
            self.read += ids.numel()
        return super()._step(ids, cache, keep, **more)


@pytest.fixture
def serve(chaotic: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(torch_engine, "Server", Watched)

    def run(
        requests: list[Request], **args: Any
    ) -> tuple[list[list[int]], list[Timing], TorchGenerator]:
        engine = Counted(chaotic, new_tokens=4)
        timings = engine.serve(requests, engine.resolve(args))
        assert engine.last_finite
        return [answer.tokens for answer in Watched.made.answers], timings, engine

    return run


POLICIES = [{"batch_size": 1}, {"batch_size": 3}, {"batch_size": 3, "batching": "continuous"}]


@pytest.mark.parametrize("args", POLICIES, ids=str)
def test_known_prefixes_change_no_token_and_are_not_computed_again(
    serve: Any, requests: list[Request], args: dict[str, Any]
) -> None:
    expected, _, plain = serve(requests, **args)
    for entries in (1, 16):
        tokens, timings, engine = serve(requests, **args, prefix_entries=entries)
        assert tokens == expected
        assert engine.read < plain.read
        assert [t.prompt_tokens for t in timings] == [len(r.prompt) for r in requests]


def test_what_is_left_to_compute_of_prompts(serve: Any, requests: list[Request]) -> None:
    _, _, plain = serve(requests)
    assert plain.read == sum(len(r.prompt) for r in requests)
    _, _, engine = serve(requests, prefix_entries=64)
    # The first and the other one whole; the rest but what is shared; repeats one token, a pass
    # that is no longer than a step.
    fresh = sum(n - SHARED for n, _ in LENGTHS[1:] if n - SHARED > 1)
    assert engine.read == LENGTHS[0][0] + 11 + fresh


@pytest.mark.parametrize("args", POLICIES, ids=str)
def test_a_known_answer_is_the_same_and_computes_nothing(
    serve: Any, requests: list[Request], args: dict[str, Any]
) -> None:
    expected, plain, _ = serve(requests, **args)
    tokens, timings, _ = serve(requests, **args, result_entries=16)
    assert tokens == expected
    known = [i for i, t in enumerate(timings) if t.output_tokens > 1 and t.first == t.last]
    assert known
    assert set(known) <= {3, 8, 9}
    assert all(timings[i].gaps == () and timings[i].start < timings[i].first for i in known)
    assert all(t.first < t.last for t in plain if t.output_tokens > 1)


def test_nothing_is_left_for_the_next_traffic(chaotic: Any, requests: list[Request]) -> None:
    engine = Counted(chaotic, new_tokens=4)
    args = engine.resolve({"prefix_entries": 64, "result_entries": 64})
    engine.serve(requests, args)
    first = engine.read
    engine.serve(requests, args)
    assert engine.read == 2 * first


def test_answers_that_came_whole_have_no_time_per_token() -> None:
    computed = Timing(0.0, 1.0, 3.0, 1, 8, 5, (0.5,) * 4)
    whole = Timing(3.0, 3.5, 3.5, 1, 8, 5)
    values = speed_values(Block((computed, whole), traffic=True))
    assert values == {
        "ttft_seconds": 0.75,
        "e2e_latency_seconds": 1.75,
        "output_tokens_per_second": 10 / 3.5,
        "tpot_seconds": 0.5,
    }

"""Tokens that are told as the engine makes them, and a request that is ended early."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.bench.line import Line, Stopped
from autotune.bench.protocol import Reply

PROMPTS = {"input_ids": torch.tensor([[5, 6, 7, 5, 6, 7, 5, 6], [9, 8, 7, 9, 8, 7, 9, 8]])}
NEW = 12


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> TorchGenerator:
    return TorchGenerator(AutoModelForCausalLM.from_pretrained(tiny_model).eval(), new_tokens=4)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"cache": "static"},
        {"draft_tokens": 4},
        {"draft_tokens": 3, "draft_layers": 0.5},
        {"exit_confidence": 0.01},
    ],
    ids=str,
)
def test_told_tokens_are_those_of_the_request(
    engine: TorchGenerator, given: dict[str, Any]
) -> None:
    run_args = engine.resolve(given)
    silent = engine.generate(PROMPTS, run_args, NEW).tolist()
    told: list[Sequence[Sequence[int]]] = []
    engine.on_tokens = told.append
    try:
        read_along = engine.generate(PROMPTS, run_args, NEW).tolist()
    finally:
        engine.on_tokens = None
    assert read_along == silent
    rows = [[token for rows in told for token in rows[i]] for i in range(2)]
    assert rows == silent
    assert 1 < len(told) <= NEW
    count = len(told)
    engine.generate(PROMPTS, run_args, NEW)
    assert len(told) == count  # nobody reads along any more, of the exits' engine either


def test_a_draft_is_told_at_once(engine: TorchGenerator) -> None:
    told: list[Sequence[Sequence[int]]] = []
    one = {"input_ids": torch.tensor([[5, 6] * 20])}
    engine.on_tokens = told.append
    engine.generate(one, engine.resolve({"draft_tokens": 4}), 60)
    engine.on_tokens = None
    assert max(len(rows[0]) for rows in told) > 1
    assert sum(len(rows[0]) for rows in told) == 60


@pytest.mark.parametrize("given", [{}, {"cache": "static"}, {"draft_tokens": 4}], ids=str)
def test_an_engine_that_is_stopped_is_ready_for_the_next_request(
    engine: TorchGenerator, given: dict[str, Any]
) -> None:
    run_args = engine.resolve(given)
    expected = engine.generate(PROMPTS, run_args, NEW).tolist()
    seen: list[Any] = []

    def stop(rows: Any) -> None:
        seen.append(rows)
        if len(seen) == 2:
            raise Stopped

    engine.on_tokens = stop
    with pytest.raises(Stopped):
        engine.generate(PROMPTS, run_args, NEW)
    engine.on_tokens = None
    assert len(seen) == 2
    assert engine.generate(PROMPTS, run_args, NEW).tolist() == expected


def test_a_line_tells_until_something_is_asked() -> None:
    there, here = os.pipe()
    replies = io.StringIO()
    with os.fdopen(there) as requests:
        line = Line(requests, replies)
        line.tell([[1, 2], [3, 4]])
        os.write(here, b'{"operation": "stop"}\n')
        with pytest.raises(Stopped):
            line.tell([[5], [6]])
        os.close(here)
    parts = [Reply.model_validate_json(text) for text in replies.getvalue().splitlines()]
    assert [part.tokens for part in parts] == [((1, 2), (3, 4)), ((5,), (6,))]
    assert all(part.more for part in parts)


def test_a_parent_that_is_gone_reads_no_further() -> None:
    there, here = os.pipe()
    os.close(here)
    with os.fdopen(there) as requests, pytest.raises(Stopped):
        Line(requests, io.StringIO()).tell([[1]])

"""Token ids as an exported directory keeps them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from autotune.bench.tokenizer import PromptTokenizer
from autotune.bench.tokens import Tokens, read_tokens, save_tokens
from autotune.engine import Request, TextRequest
from autotune.errors import InputError
from autotune.messages import ModelRef

CPU = torch.device("cpu")


@pytest.fixture
def model(tiny_model: Path) -> ModelRef:
    return ModelRef(path=str(tiny_model), name="m", task="causal-lm", fingerprint="0" * 64)


def tokens_with(traffic: tuple[Request | TextRequest, ...]) -> Tokens:
    ids = torch.arange(12).view(2, 6)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return Tokens(prompts=batch, evaluation=batch, calibration=(batch, batch), traffic=traffic)


def test_traffic_of_token_ids_is_read_as_it_was_written(model: ModelRef, tmp_path: Path) -> None:
    first, second = Request(torch.tensor([3, 4, 5]), 7), Request(torch.tensor([9]), 2)
    tokens, file = tokens_with((first, second, first)), tmp_path / "tokens.safetensors"
    save_tokens(tokens, file)
    again = read_tokens(file, CPU, model)
    requests = [one for one in again.traffic if isinstance(one, Request)]
    assert [one.prompt.tolist() for one in requests] == [[3, 4, 5], [9], [3, 4, 5]]
    assert [one.new_tokens for one in requests] == [7, 2, 7]
    assert requests[0].prompt is requests[2].prompt
    assert len(again.calibration) == 2
    assert torch.equal(again.prompts["input_ids"], tokens.prompts["input_ids"])


def test_traffic_as_text_is_read_as_it_was_written(model: ModelRef, tmp_path: Path) -> None:
    ids = PromptTokenizer(model).ids
    given = (TextRequest("Once upon — a time", 3, 7, ids), TextRequest("again", 1, 2, ids))
    file = tmp_path / "tokens.safetensors"
    save_tokens(tokens_with(given), file)
    again = [one for one in read_tokens(file, CPU, model).traffic if isinstance(one, TextRequest)]
    assert [(one.text, one.prompt_tokens, one.new_tokens) for one in again] == [
        (one.text, one.prompt_tokens, one.new_tokens) for one in given
    ]
    assert [one.tokenize(one.text, one.prompt_tokens) for one in again] == [
        one.tokenize(one.text, one.prompt_tokens) for one in given
    ]


def test_text_that_is_no_text_is_damaged(model: ModelRef, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = tmp_path / "tokens.safetensors"
    save_tokens(tokens_with((TextRequest("x", 1, 2, PromptTokenizer(model).ids),)), file)
    spoilt = torch.tensor([255], dtype=torch.uint8)
    save_file({**load_file(file), "traffic.0": spoilt}, file)
    with pytest.raises(InputError, match="is damaged"):
        read_tokens(file, CPU, model)

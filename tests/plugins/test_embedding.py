from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from autotune.plugin import Context
from autotune_plugins.embedding import Embedding
from autotune_plugins.quantize import Quantize

ContextOf = Callable[..., Context]
OutputOf = Callable[..., torch.Tensor]
INT8 = {"format": "int8"}


def stored_bytes(weight: Any) -> int:
    parts = [getattr(weight, name, None) for name in weight.tensor_data_names]
    return sum(part.nbytes for part in parts if part is not None)


def closeness(left: torch.Tensor, right: torch.Tensor) -> float:
    found = torch.nn.functional.cosine_similarity(left.float(), right.float(), dim=-1)
    return float(found.min())


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("scheme", [None, "int8_weight_only", "int4_weight_only"])
def test_embedding_and_head_in_8_bits(
    tied: bool,
    scheme: str | None,
    make_llama: Callable[..., Any],
    context_of: ContextOf,
    output_of: OutputOf,
    tokens: torch.Tensor,
) -> None:
    llama = make_llama(tie_word_embeddings=tied).to(torch.bfloat16)
    before = output_of(llama, tokens)
    bytes_before = llama.model.embed_tokens.weight.nbytes
    if scheme:
        Quantize().transform(llama, {"scheme": scheme, "group_size": 32}, context_of(llama))
    Embedding().transform(llama, INT8, context_of(llama))
    embedding, head = llama.model.embed_tokens.weight, llama.lm_head.weight
    assert (embedding is head) == tied
    for weight in (embedding, head):
        assert stored_bytes(weight) < 0.6 * bytes_before
    assert closeness(output_of(llama, tokens), before) > 0.9


def test_only_rows_that_are_looked_up_are_converted(
    make_llama: Callable[..., Any], context_of: ContextOf, tokens: torch.Tensor
) -> None:
    llama = make_llama()
    embedding = llama.model.embed_tokens
    Embedding().transform(llama, INT8, context_of(llama))
    whole = torch.nn.functional.embedding(tokens, embedding.weight)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        found = embedding(tokens[:, :1])
    assert torch.equal(found, whole[:, :1])
    assert max(event.cpu_memory_usage for event in seen.events()) < embedding.weight.numel()


def test_an_encoder_has_no_head(
    bert: Any, context_of: ContextOf, output_of: OutputOf, tokens: torch.Tensor
) -> None:
    before = output_of(bert, tokens)
    Embedding().transform(bert, INT8, context_of(bert))
    weight = bert.embeddings.word_embeddings.weight
    assert stored_bytes(weight) < 0.3 * weight.numel() * 4
    assert closeness(output_of(bert, tokens), before) > 0.99


def test_estimate_is_the_rest_of_what_quantize_leaves(llama: Any) -> None:
    config = llama.config.to_dict() | {"dtype": "float32"}
    linears = Quantize().estimate({"scheme": "int8_weight_only"}, config).weights_bytes
    others = Embedding().estimate(INT8, config).weights_bytes
    assert linears + others - 1 == pytest.approx(0.25)
    assert Embedding().estimate(INT8, {"model_type": "odd"}).weights_bytes == 1

"""What a model of transformers says by itself."""

from __future__ import annotations

from typing import Any

import torch

from autotune.engine import Request


def greedy_tokens(model: Any, request: Request) -> list[int]:
    """The answer to a request that runs alone, by transformers' own ``generate``."""
    given = request.prompt[None]
    tokens = model.generate(
        given,
        attention_mask=torch.ones_like(given),
        max_new_tokens=request.new_tokens,
        min_new_tokens=request.new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    return list(tokens[0, given.shape[1] :].tolist())

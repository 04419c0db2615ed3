"""How well a model predicts held-out tokens, beside one that knows their frequencies only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM

_WINDOW_TOKENS = 256
_BATCH = 8
_MAX_WINDOWS = 64


@dataclass(frozen=True)
class Score:
    """Perplexities over the same positions."""

    perplexity: float
    unigram_perplexity: float
    bits_per_byte: float


@torch.no_grad()
def score(
    model: LlamaForCausalLM, ids: torch.Tensor, text_bytes: int, counts: torch.Tensor
) -> Score:
    """Scores a model over windows that do not overlap.

    Args:
        model: In evaluation mode.
        ids: Shape (tokens,), the held-out text.
        text_bytes: Its length before encoding.
        counts: Shape (vocabulary,), how often each token occurs in the training text.
    """
    windows = _windows(ids)
    nll_nats = sum(_nll_nats(model, chunk) for chunk in torch.split(windows, _BATCH))
    positions = windows[:, 1:].numel()
    mean_nats = nll_nats / positions
    log_frequency = ((counts + 1) / (counts + 1).sum()).log()
    return Score(
        perplexity=math.exp(mean_nats),
        unigram_perplexity=math.exp(-float(log_frequency[windows[:, 1:]].double().mean())),
        bits_per_byte=mean_nats / math.log(2) * len(ids) / text_bytes,
    )


def _windows(ids: torch.Tensor) -> torch.Tensor:
    """Spreads at most 64 windows of 256 tokens evenly over the text."""
    whole = ids[: len(ids) // _WINDOW_TOKENS * _WINDOW_TOKENS].view(-1, _WINDOW_TOKENS)
    return whole[:: math.ceil(len(whole) / _MAX_WINDOWS)]


def _nll_nats(model: LlamaForCausalLM, windows: torch.Tensor) -> float:
    logits = model(input_ids=windows).logits[:, :-1]
    return float(
        torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), windows[:, 1:].flatten(), reduction="sum"
        )
    )

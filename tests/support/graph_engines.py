"""What the tests of other engines than torch share."""

from __future__ import annotations

import importlib.util

import pytest
import torch

HAS_LLAMACPP = importlib.util.find_spec("llama_cpp") is not None
needs_llamacpp = pytest.mark.skipif(
    not HAS_LLAMACPP, reason="pip install llama-cpp-python, which compiles it for many minutes"
)


def prompts(sequences: int, length: int = 20) -> dict[str, torch.Tensor]:
    """Other tokens for each number of sequences."""
    chance = torch.Generator().manual_seed(sequences)
    return {"input_ids": torch.randint(3, 256, (sequences, length), generator=chance)}

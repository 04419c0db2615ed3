from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autotune.bench.engines import torch_engine
from autotune.bench.engines.serving import Server

VOCABULARY = 97


@pytest.fixture
def llama() -> Any:
    """A random Llama with tied embeddings."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture
def chaotic() -> Any:
    """One that says other tokens at the least change of its input, in double precision: no
    rounding decides which."""
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).double().eval().requires_grad_(False)


@pytest.fixture
def windows() -> dict[str, torch.Tensor]:
    """Evaluation windows, ``[6, 16]``."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCABULARY, (6, 16))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.fixture
def reference(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "reference" / "a.logits.npy", tmp_path / "reference" / "a.paired.npy"


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[Server]:
    """Those that engines make, to look at their answers."""
    made: list[Server] = []

    class Kept(Server):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            made.append(self)

    monkeypatch.setattr(torch_engine, "Server", Kept)
    return made

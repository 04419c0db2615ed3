"""The model's tokenizer; apart from torch, for whoever wants only that."""

from __future__ import annotations

from typing import Any

from autotune.messages import ModelRef


def load_tokenizer(model: ModelRef) -> Any:
    """The tokenizer of a checkpoint."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model.path, trust_remote_code=model.trust.trust_remote_code
    )

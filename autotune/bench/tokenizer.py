"""The model's tokenizer; apart from torch, for whoever wants only that."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from autotune.messages import ModelRef
from autotune.processes import die_with_parent


def load_tokenizer(model: ModelRef) -> Any:
    """The tokenizer of a checkpoint."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        model.path, trust_remote_code=model.trust.trust_remote_code
    )


class PromptTokenizer:
    """Token ids of prompts. Pickled, it is its model's name, and loads the tokenizer anew."""

    def __init__(self, model: ModelRef) -> None:
        self._model = model
        self.tokenizer = load_tokenizer(model)
        bos = self.tokenizer.bos_token_id
        added = self.tokenizer("a", verbose=False)["input_ids"]
        self.first: list[int] = [bos] if bos is not None and added[0] == bos else []
        """What each prompt begins with: the beginning-of-sequence token, if one is added."""

    def __reduce__(self) -> tuple[Any, ...]:
        return PromptTokenizer, (self._model,)

    def plain_ids(self, text: str) -> list[int]:
        """Those of a text, without special ones."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def ids(self, text: str, most: int) -> list[int]:
        """Those of a prompt, at most so many."""
        return (self.first + self.plain_ids(text))[:most]


_tokenize: Callable[[str, int], list[int]]
"""Of a process that tokenizes for another; see ``begin_process``."""


def begin_process(parent: int, tokenize: Callable[[str, int], list[int]]) -> None:
    """The first thing that a process does which tokenizes for another.

    Args:
        parent: The other's process id: this one ends with it.
        tokenize: ``TextRequest.tokenize``; it has loaded its tokenizer on the way here.
    """
    if not die_with_parent(parent):
        os._exit(1)
    global _tokenize
    _tokenize = tokenize


def ids_in_process(text: str, most: int) -> list[int]:
    """``TextRequest.tokenize`` there."""
    return _tokenize(text, most)

"""What the bench process does with a model that is to be exported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from autotune.bench.exported.checkpoint import write_model
from autotune.bench.exported.names import TOKENS_FILE
from autotune.bench.protocol import Operation, Request
from autotune.bench.tokenizer import load_tokenizer
from autotune.bench.tokens import Tokens, save_tokens
from autotune.messages import ModelRef


@dataclass(frozen=True)
class Export:
    """Where a model goes."""

    folder: Path
    """Empty, but for what engines put into it."""
    max_shard_bytes: int

    @classmethod
    def of(cls, request: Request) -> Self | None:
        """None of a request that exports nothing."""
        if request.operation is not Operation.EXPORT:
            return None
        return cls(Path(request.path), request.max_shard_bytes)

    def write(self, model: Any, kind: Any, tokens: Tokens, original: ModelRef) -> None:
        """Writes the model, what makes tokens of text, and what the trial is run on.

        Args:
            model: With all transforms that the files are to hold.
            kind: The transformers class for its task.
            tokens: The workload's.
            original: Has the tokenizer.

        Raises:
            Unsupported: It cannot be written as data, and why.
        """
        write_model(model, kind, self.folder, self.max_shard_bytes)
        save_tokens(tokens, self.folder / TOKENS_FILE)
        load_tokenizer(original).save_pretrained(self.folder)

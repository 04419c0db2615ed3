"""Answers in OpenAI's format, whole or in chunks."""

from __future__ import annotations

import json
import time
import uuid
from abc import ABC, abstractmethod
from typing import Any

from autotune.openai.generation import Finish, Piece

DONE = b"data: [DONE]\n\n"
"""The end of a stream."""


def event(message: dict[str, Any]) -> bytes:
    """A server-sent event."""
    return b"data: " + json.dumps(message).encode("ascii") + b"\n\n"


class Replies(ABC):
    """The answers to one request."""

    prefix: str
    """Of its id."""
    whole_name: str
    chunk_name: str
    """What OpenAI calls an answer, and a part of one."""

    def __init__(self, model: str) -> None:
        self._common = {
            "id": f"{self.prefix}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, texts: list[str], ends: list[Finish], usage: dict[str, int]) -> dict[str, Any]:
        """All answers at once."""
        pairs = enumerate(zip(texts, ends, strict=True))
        choices = [self._choice(i, text) | _ended(end) for i, (text, end) in pairs]
        return {"object": self.whole_name, **self._common, "choices": choices, "usage": usage}

    def chunk(self, piece: Piece, more: dict[str, Any]) -> dict[str, Any]:
        """A part of one answer.

        Args:
            piece: The part.
            more: Keys besides.
        """
        choice = self._delta(piece) | _ended(piece.finish)
        return {"object": self.chunk_name, **self._common, "choices": [choice], **more}

    def last_chunk(self, usage: dict[str, int]) -> dict[str, Any]:
        """What there was in all."""
        return {"object": self.chunk_name, **self._common, "choices": [], "usage": usage}

    def opening(self, index: int, more: dict[str, Any]) -> dict[str, Any] | None:
        """What comes before an answer's first part; None if nothing does."""
        return None

    @abstractmethod
    def _choice(self, index: int, text: str) -> dict[str, Any]:
        """One whole answer."""

    @abstractmethod
    def _delta(self, piece: Piece) -> dict[str, Any]:
        """A part of it."""


class CompletionReplies(Replies):
    """Of ``/v1/completions``."""

    prefix = "cmpl"
    whole_name = chunk_name = "text_completion"

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {"index": index, "text": text}

    def _delta(self, piece: Piece) -> dict[str, Any]:
        return self._choice(piece.index, piece.text)


class ChatReplies(Replies):
    """Of ``/v1/chat/completions``."""

    prefix = "chatcmpl"
    whole_name, chunk_name = "chat.completion", "chat.completion.chunk"

    def opening(self, index: int, more: dict[str, Any]) -> dict[str, Any]:
        """Says who speaks."""
        choice = {"index": index, "delta": {"role": "assistant", "content": ""}} | _ended(None)
        return {"object": self.chunk_name, **self._common, "choices": [choice], **more}

    def _choice(self, index: int, text: str) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
        }

    def _delta(self, piece: Piece) -> dict[str, Any]:
        return {"index": piece.index, "delta": {"content": piece.text} if piece.text else {}}


def _ended(finish: Finish | None) -> dict[str, Any]:
    return {"logprobs": None, "finish_reason": finish}

"""Texts of requests that come as text: each just long enough for its prompt's tokens."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.bench.tokenizer import PromptTokenizer
from autotune.engine import TextRequest
from autotune.errors import InputError
from autotune.traffic import Drawn

_ATTEMPTS = 64
"""Most tokenizers join letters and no words: about every second piece of text ends in a token that
does not change with what follows."""

_SEEN = 64
"""Characters that follow a piece, for whether they change its tokens."""


def text_requests(
    drawn: Sequence[Drawn], shared_tokens: int, text: str, tokenizer: PromptTokenizer
) -> tuple[TextRequest, ...]:
    """The requests in the order in which they come; one that repeats another is the same.

    Args:
        drawn: As the traffic draws them.
        shared_tokens: So many first tokens are the same in all.
        text: What they are cut from, at places evenly spread.
        tokenizer: The model's.

    Raises:
        InputError: The text is too short, or the tokenizer makes no common beginning of it.
    """
    different = list(dict.fromkeys(drawn))
    cutter = _TextCutter(text, tokenizer, len(different))
    begin = cutter.common(shared_tokens) if shared_tokens else ""
    made = {
        one: TextRequest(
            cutter.cut(start, one.prompt_tokens, begin),
            one.prompt_tokens,
            one.new_tokens,
            tokenizer.ids,
            one.adapter,
        )
        for one, start in zip(different, cutter.starts, strict=True)
    }
    return tuple(made[one] for one in drawn)


class _TextCutter:
    """Cuts one text at characters."""

    def __init__(self, text: str, tokenizer: PromptTokenizer, pieces: int) -> None:
        self._length = len(text)
        self._text = text * 2  # a piece that begins near the end goes on at the beginning
        self._tokenizer = tokenizer
        self._characters = len(text) / max(1, len(tokenizer.plain_ids(text)))
        """Of one token."""
        self.starts = [(2 * i + 1) * self._length // (2 * pieces) for i in range(pieces)]
        """Characters at which the pieces begin, evenly spread."""

    def cut(self, start: int, tokens: int, begin: str = "") -> str:
        """The shortest piece from a character on, to a few characters, that has so many tokens.

        Args:
            start: Number of the character.
            tokens: Wanted, special ones included.
            begin: Comes before it, and counts.
        """
        missing = tokens - self._count(begin, tokens)
        size = max(1, int(0.8 * missing * self._characters))
        while size <= self._length:
            piece = begin + self._text[start : start + size]
            if self._count(piece, tokens) == tokens:
                return piece
            size += max(2, size // 32)
        raise InputError(f"the text has fewer than {tokens} tokens; give a longer text")

    def common(self, tokens: int) -> str:
        """A piece whose first tokens stay the same, whichever of the others follows it."""
        for attempt in range(_ATTEMPTS):
            piece = self.cut(attempt * self._length // _ATTEMPTS, tokens)
            texts = (piece + self._text[start : start + _SEEN] for start in self.starts)
            if len({tuple(self._tokenizer.ids(text, tokens)) for text in texts}) == 1:
                return piece
        raise InputError(
            f"workload.traffic.shared_prefix_tokens: {tokens} first tokens cannot be the same in "
            "all texts, for this tokenizer joins them with what follows; lower it, or leave "
            "workload.traffic.as_text out"
        )

    def _count(self, text: str, most: int) -> int:
        return len(self._tokenizer.ids(text, most))

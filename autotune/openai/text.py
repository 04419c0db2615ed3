"""From tokens to text while they come: whole characters only, up to a stop sequence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\N{REPLACEMENT CHARACTER}"
"""What decoding gives for the bytes of a character whose rest is in the next token."""


class Detokenizer:
    """Decodes a few tokens at a time: those that were told last, for what decoding one depends on
    (a space before a word), and those that are new. The pieces make what decoding all at once
    does. ``tokenizers.decoders.DecodeStream`` does this for fast tokenizers alone, and keeps to
    itself what is left at the end."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        """
        Args:
            decode: From token ids to text.
        """
        self._decode = decode
        self._window: list[int] = []
        self._told = 0
        """Tokens of the window whose text was told."""

    def add(self, token: int) -> str:
        """The text that has become whole with a token; empty while a character is not."""
        self._window.append(token)
        piece = self._rest()
        if not piece or piece.endswith(_INCOMPLETE):
            return ""
        self._window = self._window[self._told :]
        self._told = len(self._window)
        return piece

    def finish(self) -> str:
        """What is left, whole or not."""
        return self._rest()

    def _rest(self) -> str:
        known = self._decode(self._window[: self._told])
        return self._decode(self._window)[len(known) :]


class StopSequences:
    """Cuts a text before the first of some sequences. What may be the beginning of one is held
    back until it is known."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def add(self, text: str) -> str:
        """What can be told with this text."""
        held = self._held + text
        places = [place for stop in self._stops if (place := held.find(stop)) >= 0]
        if places:
            self.found, self._held = True, ""
            return held[: min(places)]
        end = len(held) - max((_begun(stop, held) for stop in self._stops), default=0)
        self._held = held[end:]
        return held[:end]

    def finish(self) -> str:
        """What was held back: nothing follows."""
        held, self._held = self._held, ""
        return held


def _begun(stop: str, held: str) -> int:
    """How many last characters may be the beginning of a stop sequence."""
    longest = min(len(stop) - 1, len(held))
    return next((n for n in range(longest, 0, -1) if held.endswith(stop[:n])), 0)


class AnswerText:
    """The text of one answer, token by token."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stops: Sequence[str]) -> None:
        self._detokenizer = Detokenizer(decode)
        self._stops = StopSequences(stops)
        self.tokens = 0
        """Taken in, up to the one that has completed a stop sequence."""

    @property
    def stopped(self) -> bool:
        """Whether a stop sequence has come."""
        return self._stops.found

    def add(self, tokens: Sequence[int]) -> str:
        """What can be told with these tokens."""
        told = ""
        for token in tokens:
            if self.stopped:
                break
            self.tokens += 1
            told += self._stops.add(self._detokenizer.add(token))
        return told

    def finish(self) -> str:
        """What is left, once no token follows."""
        if self.stopped:
            return ""
        return self._stops.add(self._detokenizer.finish()) + self._stops.finish()

"""Prompts on their way through a server, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from autotune.dispatch.table import Cell
from autotune.messages import RecipeDict

OnTokens = Callable[[Sequence[int]], None]


@dataclass(frozen=True)
class Answer:
    """What came of one prompt."""

    token_ids: tuple[int, ...]
    """Up to the end-of-sequence token, without it."""
    text: str
    """Empty where the prompt was given as token ids."""
    point: str
    """The point that served it."""
    recipe: RecipeDict
    """What ran."""
    cell: Cell
    """Where in the table it was found."""
    batch_size: int
    """Sequences that ran together."""
    outside: str
    """How far the request lies outside what was measured; empty if it does not."""


@dataclass(eq=False)
class PendingRequest:
    """One prompt on its way."""

    ids: tuple[int, ...]
    new_tokens: int
    on_tokens: OnTokens | None = None
    """Is told its tokens as they are made, in the server's thread; must not raise."""
    answer: Future[Answer] = field(default_factory=Future)
    tokens: list[int] = field(default_factory=list)
    """What was made so far, up to the end-of-sequence token, without it."""
    ended: bool = False
    """Whether nothing more is to come."""
    _unwanted: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """What those that run together have in common."""
        return len(self.ids), self.new_tokens

    def stop(self) -> None:
        """Nobody wants more of it; from any thread. It ends before the next step, as far as the
        engine tells its steps, and its answer has what was made until then, or is cancelled if it
        had not begun."""
        self._unwanted = True

    def begin(self) -> bool:
        """Whether it is still wanted; if not, its answer is cancelled."""
        if self._unwanted:
            self.answer.cancel()
        return not self._unwanted

    def take(self, tokens: Sequence[int], ends: frozenset[int]) -> None:
        """Takes in the next tokens.

        Args:
            tokens: As made.
            ends: Those that end a sequence.
        """
        if self.ended:
            return
        count = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        self.tokens += tokens[:count]
        self.ended = count < len(tokens) or self._unwanted
        if count and self.on_tokens is not None:
            self.on_tokens(tokens[:count])


class Batch:
    """Requests that run together."""

    def __init__(
        self,
        items: Sequence[PendingRequest],
        ends: frozenset[int],
        answer: Callable[[PendingRequest], Answer],
    ) -> None:
        """
        Args:
            items: Of one shape.
            ends: Tokens that end a sequence.
            answer: Makes one of what has come.
        """
        self._items = items
        self._ends = ends
        self._answer = answer
        self._told = 0

    @property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """Token ids of each."""
        return tuple(item.ids for item in self._items)

    @property
    def is_read_along(self) -> bool:
        """Whether anybody wants tokens as they are made."""
        return any(item.on_tokens for item in self._items)

    def take(self, rows: Sequence[Sequence[int]]) -> bool:
        """Takes in each sequence's next tokens, and answers those that end.

        Returns:
            Whether any goes on.
        """
        self._told += len(rows[0])
        for item, tokens in zip(self._items, rows, strict=True):
            item.take(tokens, self._ends)
            if item.ended:
                self._settle(item)
        return not all(item.ended for item in self._items)

    def finish(self, rows: Sequence[Sequence[int]]) -> None:
        """Answers all.

        Args:
            rows: Each sequence's tokens from the first one; none where all had ended before.
        """
        if rows:
            self.take([tokens[self._told :] for tokens in rows])
        for item in self._items:
            self._settle(item)

    def fail(self, error: BaseException) -> None:
        """Whoever has no answer yet gets this error."""
        for item in self._items:
            if not item.answer.done():
                item.answer.set_exception(error)

    def _settle(self, item: PendingRequest) -> None:
        if not item.answer.done():
            item.answer.set_result(self._answer(item))

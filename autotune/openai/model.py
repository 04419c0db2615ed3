"""What a loaded model offers to be served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Protocol


class Pending(Protocol):
    """A prompt that is being continued."""

    @property
    def answer(self) -> Future[Any]:
        """Done once all tokens were told; has the error where it failed."""

    def stop(self) -> None:
        """Nobody wants more of it; from any thread, at any time, also once it is over."""


class LoadedModel(Protocol):
    """What ``autotune.load`` returns, as the server uses it. Any number of threads may ask."""

    @property
    def name(self) -> str:
        """How clients name it."""

    @property
    def max_positions(self) -> int | None:
        """Tokens of a prompt and its answer together, at most; None where it does not say."""

    @property
    def tokenizer(self) -> Any:
        """The model's, of transformers."""

    def stream(
        self,
        prompt: Sequence[int],
        max_new_tokens: int,
        on_tokens: Callable[[Sequence[int]], None],
    ) -> Pending:
        """Begins to continue a prompt greedily.

        Args:
            prompt: Token ids.
            max_new_tokens: At most so many.
            on_tokens: Called, in any thread, with the next tokens, without the one that ends the
                sequence; does not raise.

        Raises:
            InputError: The prompt is empty or has tokens that the model does not have.
        """

    def close(self) -> None:
        """Answers what waits, and ends its processes."""

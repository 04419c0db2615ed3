"""The answers to one request, brought from the model's thread to the event loop as they come."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Literal

from autotune.openai.model import LoadedModel, Pending
from autotune.openai.text import AnswerText

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Job:
    """A prompt, and how far to continue it."""

    prompt: Sequence[int]
    most_tokens: int


@dataclass(frozen=True)
class Piece:
    """The next words of an answer, or its end."""

    index: int
    """Of the prompt."""
    text: str
    finish: Finish | None = None
    """Why nothing follows."""


_Event = tuple[int, Sequence[int] | None]
"""Which prompt, and its next tokens; None once it has ended."""


class Generation:
    """Continues the prompts of one request, all at once as far as the model can.

    Made and read in an event loop.
    """

    def __init__(
        self,
        model: LoadedModel,
        jobs: Sequence[Job],
        decode: Callable[[Sequence[int]], str],
        stops: Sequence[str],
    ) -> None:
        """
        Raises:
            InputError: A prompt holds tokens that the model does not have.
        """
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[_Event] = asyncio.Queue()
        self._jobs = jobs
        self._texts = [AnswerText(decode, stops) for _ in jobs]
        self._pending: list[Pending] = []
        try:
            for index, job in enumerate(jobs):
                self._begin(model, index, job)
        except BaseException:
            self.stop()
            raise

    def _begin(self, model: LoadedModel, index: int, job: Job) -> None:
        def on_tokens(tokens: Sequence[int]) -> None:
            self._put(index, tokens)

        def on_end(_answer: Future[Any]) -> None:
            self._put(index, None)

        self._pending.append(model.stream(job.prompt, job.most_tokens, on_tokens))
        self._pending[-1].answer.add_done_callback(on_end)

    def _put(self, index: int, tokens: Sequence[int] | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody reads any more
            self._loop.call_soon_threadsafe(self._events.put_nowait, (index, tokens))

    @property
    def usage(self) -> dict[str, int]:
        """Tokens so far, as OpenAI counts them; the one that ends a sequence is not counted."""
        prompt = sum(len(job.prompt) for job in self._jobs)
        completion = sum(text.tokens for text in self._texts)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
        }

    def stop(self) -> None:
        """Nobody wants more of it."""
        for pending in self._pending:
            pending.stop()

    async def pieces(self) -> AsyncIterator[Piece]:
        """All pieces as they come; each prompt's last one says why it is the last.

        Raises:
            AutotuneError: The model failed.
        """
        open_ends = set(range(len(self._jobs)))
        try:
            while open_ends:
                index, tokens = await self._events.get()
                if index not in open_ends:
                    continue
                piece = self._take(index, tokens)
                if piece.finish is not None:
                    open_ends.remove(index)
                if piece.text or piece.finish is not None:
                    yield piece
        finally:
            self.stop()

    def _take(self, index: int, tokens: Sequence[int] | None) -> Piece:
        text, pending = self._texts[index], self._pending[index]
        if tokens is not None:
            told = text.add(tokens)
            if not text.stopped:
                return Piece(index, told)
            pending.stop()
            return Piece(index, told, "stop")
        if not pending.answer.cancelled():
            pending.answer.result()  # raises what has failed
        rest = text.finish()
        is_full = text.tokens == self._jobs[index].most_tokens and not text.stopped
        return Piece(index, rest, "length" if is_full else "stop")

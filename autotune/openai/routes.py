"""The paths that OpenAI's clients ask."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from autotune.errors import AutotuneError, unknown_name
from autotune.openai.bodies import ChatBody, CompletionBody, GenerationBody
from autotune.openai.errors import ApiError, JsonResponse, translated
from autotune.openai.generation import Finish, Generation, Job
from autotune.openai.model import LoadedModel
from autotune.openai.prompts import CHAT_TOKENS, COMPLETION_TOKENS, Prompts
from autotune.openai.replies import DONE, ChatReplies, CompletionReplies, Replies, event

_SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
"""A proxy that collected chunks would undo streaming."""

_log = logging.getLogger(__name__)


def make_router(model: LoadedModel) -> APIRouter:
    """Routes that serve one model.

    Args:
        model: The caller closes it.
    """
    router, served = APIRouter(), Served(model)
    described = {
        "id": model.name,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "autotune",
    }

    @router.get("/health")
    async def health() -> Response:
        return Response()

    @router.get("/v1/models")
    async def models() -> Response:
        return JsonResponse({"object": "list", "data": [described]})

    @router.get("/v1/models/{name:path}")
    async def one_model(name: str) -> Response:
        served.check_name(name)
        return JsonResponse(described)

    @router.post("/v1/completions")
    async def completions(body: CompletionBody, request: Request) -> Response:
        def encode() -> list[list[int]]:
            return served.prompts.of_completion(body.prompt)

        return await served.answer(
            body, request, encode, COMPLETION_TOKENS, CompletionReplies(model.name)
        )

    @router.post("/v1/chat/completions")
    async def chat(body: ChatBody, request: Request) -> Response:
        def encode() -> list[list[int]]:
            return [served.prompts.of_chat(body.messages)]

        return await served.answer(body, request, encode, CHAT_TOKENS, ChatReplies(model.name))

    @router.post("/v1/embeddings")
    async def embeddings() -> Response:
        raise ApiError(
            f"{model.name} generates text and gives no embeddings; ask /v1/completions or "
            "/v1/chat/completions",
            code="unsupported",
        )

    return router


class Served:
    """One model, and how its requests are answered."""

    def __init__(self, model: LoadedModel) -> None:
        self._model = model
        self.prompts = Prompts(model)
        self._tokenizing = asyncio.Lock()

    def check_name(self, name: str) -> None:
        """
        Raises:
            ApiError: Another model is asked for.
        """
        if name != self._model.name:
            words = unknown_name("model", name, [self._model.name])
            raise ApiError(words, status=404, param="model", code="model_not_found")

    async def answer(
        self,
        body: GenerationBody,
        request: Request,
        encode: Callable[[], list[list[int]]],
        usual_tokens: int,
        replies: Replies,
    ) -> Response:
        """Answers a request, whole or as a stream.

        Args:
            body: The request's.
            request: Asked whether its client is still there.
            encode: Makes the token ids of its prompts, in another thread.
            usual_tokens: Of an answer, where the body says nothing.
            replies: Words the answer.

        Raises:
            ApiError: It is refused.
            AutotuneError: The model failed.
        """
        self.check_name(body.model)
        body.check()
        async with self._tokenizing:
            prompts = await run_in_threadpool(encode)
        most = body.most_tokens
        jobs = [Job(ids, self.prompts.room(ids, most, usual_tokens)) for ids in prompts]
        generation = Generation(self._model, jobs, self.prompts.decode, body.stops)
        if not body.stream:
            with _stopped_by_leaving(request, generation):
                return await _whole(generation, len(jobs), replies)
        return StreamingResponse(
            _events(generation, len(jobs), replies, body.wants_usage),
            media_type="text/event-stream",
            headers=_SSE_HEADERS,
            # A client may leave before the first event is asked for.
            background=BackgroundTask(_stop, generation),
        )


async def _whole(generation: Generation, count: int, replies: Replies) -> Response:
    texts, ends = [""] * count, dict[int, Finish]()
    async for piece in generation.pieces():
        texts[piece.index] += piece.text
        if piece.finish is not None:
            ends[piece.index] = piece.finish
    finishes = [ends[index] for index in range(count)]
    return JsonResponse(replies.whole(texts, finishes, generation.usage))


async def _events(
    generation: Generation, count: int, replies: Replies, wants_usage: bool
) -> AsyncIterator[bytes]:
    more: dict[str, Any] = {"usage": None} if wants_usage else {}
    try:
        for index in range(count):
            if (opening := replies.opening(index, more)) is not None:
                yield event(opening)
        async for piece in generation.pieces():
            yield event(replies.chunk(piece, more))
        if wants_usage:
            yield event(replies.last_chunk(generation.usage))
        yield DONE
    except AutotuneError as error:  # the status was sent long ago
        _log.error("a stream broke off: %s", error)
        yield event(translated(error).body)


async def _stop(generation: Generation) -> None:
    generation.stop()


@contextlib.contextmanager
def _stopped_by_leaving(request: Request, generation: Generation) -> Iterator[None]:
    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        generation.stop()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()

"""Answers to requests that are not served, in the format that OpenAI's clients read."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from autotune.errors import AutotuneError, InputError

_ALLOWED = {
    "prompt": "a text, a list of texts, token ids, or a list of those; none is empty",
    "stop": "a text, or a list of texts",
    "content": "a text, or a list of parts like {'type': 'text', 'text': …}",
}
"""Where pydantic would list what is wrong with each of several types."""


class ApiError(AutotuneError, HTTPException):
    """A request that is refused, or that failed. FastAPI passes an HTTPException on while it
    reads a body."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        HTTPException.__init__(self, status, message, headers)
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code}}

    def response(self) -> Response:
        """The answer."""
        return JsonResponse(self.body, self.status_code, self.headers)


class JsonResponse(Response):
    """In ASCII: what is quoted of a request may hold half of a character, which UTF-8 cannot."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode("ascii")


def translated(error: Exception) -> ApiError:
    """Any error as an answer; of one that nobody expected, uvicorn logs the rest."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _malformed(error)
    if isinstance(error, HTTPException):
        code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        headers = dict(error.headers) if error.headers else None
        return ApiError(str(error.detail), status=error.status_code, code=code, headers=headers)
    if isinstance(error, InputError):
        return ApiError(str(error))
    if isinstance(error, AutotuneError):
        return ApiError(str(error), status=500, code="generation_failed")
    return ApiError(
        "internal error; the server's log says more", status=500, code="internal_error"
    )


def _malformed(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]]
    if first["type"] == "json_invalid":
        why = first.get("ctx", {}).get("error", "")
        return ApiError(f"the body is not valid JSON: {why}", code="invalid_json")
    if not place:
        return ApiError("the body must be a JSON object of the type application/json")
    param = ".".join(place[:3] if place[0] in ("messages", "stream_options") else place[:1])
    allowed = _ALLOWED.get(param.rpartition(".")[2])
    if first["type"] == "missing":
        return ApiError(f"{param} is missing", param=param)
    return ApiError(
        f"{param}: expected {allowed}" if allowed else f"{param}: {first['msg']}", param=param
    )


def add_handlers(app: FastAPI) -> None:
    """Has an application answer with these errors.

    Args:
        app: The application.
    """

    async def answer(_request: Request, error: Exception) -> Response:
        return translated(error).response()

    handler: Callable[[Request, Exception], Awaitable[Response]] = answer
    for kind in (HTTPException, RequestValidationError, AutotuneError, Exception):
        app.add_exception_handler(kind, handler)

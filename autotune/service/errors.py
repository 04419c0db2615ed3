"""Answers to requests that cannot be fulfilled: one shape, and the command line's own words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from autotune.config import in_words
from autotune.errors import AutotuneError, InputError, StoreError

RETRY_SECONDS = 5
"""What a client is told to wait for a database or a broker that is away."""


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str
    """For programs; never changes its meaning."""
    message: str
    """For people."""
    allowed: list[str] | None = None
    """What would have been accepted, where that is a closed list."""
    hint: str | None = None
    """What to do."""


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: ErrorDetail


class ApiError(AutotuneError, HTTPException):
    """A request that is refused. FastAPI passes an HTTPException on while it reads a body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        allowed: Sequence[str] | None = None,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        HTTPException.__init__(self, status, message, headers)
        names = None if allowed is None else [_encodable(name) for name in allowed]
        self.told = ErrorDetail(code=code, message=_encodable(message), allowed=names, hint=hint)

    def response(self) -> JSONResponse:
        """The answer."""
        body = ErrorBody(error=self.told).model_dump(exclude_none=True)
        return JSONResponse(body, self.status_code, self.headers)


def _encodable(text: str) -> str:
    """JSON may spell half of a character, which UTF-8 cannot hold."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def invalid(message: str, allowed: Sequence[str] | None = None) -> ApiError:
    """A request whose contents are wrong.

    Args:
        message: Why.
        allowed: What would have been accepted.
    """
    return ApiError(422, "invalid_input", message, allowed=allowed)


def not_found(message: str) -> ApiError:
    """Something that is not there.

    Args:
        message: What.
    """
    return ApiError(404, "not_found", message)


def unavailable(code: str, message: str) -> ApiError:
    """Something that the service needs and that is away.

    Args:
        code: ``database_unavailable`` or the like.
        message: What.
    """
    return ApiError(
        503,
        code,
        message,
        hint="try again later; nothing was changed",
        headers={"Retry-After": str(RETRY_SECONDS)},
    )


def translated(error: Exception) -> ApiError:
    """The answer to an exception.

    Args:
        error: Any of those that ``add_handlers`` registers.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, RequestValidationError):
        return _malformed(error)
    if isinstance(error, StoreError):
        return unavailable("database_unavailable", str(error))
    if isinstance(error, HTTPException):
        return _of_status(error)
    return invalid(str(error))


def _of_status(error: HTTPException) -> ApiError:
    phrase = HTTPStatus(error.status_code).phrase
    code = phrase.lower().replace(" ", "_")
    headers = dict(error.headers) if error.headers else None
    return ApiError(error.status_code, code, str(error.detail), headers=headers)


def _malformed(error: RequestValidationError) -> ApiError:
    found = error.errors()
    for one in found:
        if one["type"] == "json_invalid":
            why = one.get("ctx", {}).get("error", "")
            return ApiError(400, "malformed_json", f"the body is not valid JSON: {why}")
        if tuple(one["loc"]) == ("body",) and one["type"] != "value_error":
            return invalid("the body must be a JSON object of the type application/json")
    places = {one["loc"][0] for one in found}
    source = "the request" if places == {"body"} else "the URL"
    stripped = [{**one, "loc": one["loc"][1:]} for one in found]
    return invalid(in_words(stripped, source))


def add_handlers(app: FastAPI) -> None:
    """Has an application answer with these errors.

    Args:
        app: The application.
    """

    async def answer(_request: Request, error: Exception) -> Response:
        return translated(error).response()

    handler: Callable[[Request, Exception], Awaitable[Response]] = answer
    for kind in (ApiError, RequestValidationError, HTTPException, StoreError, InputError):
        app.add_exception_handler(kind, handler)

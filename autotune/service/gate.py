"""What every request passes before its body is read: an id, a token, a rate, a size."""

from __future__ import annotations

import time
import uuid

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from autotune.errors import StoreError
from autotune.service.asgi import bearer, header, limited, says_longer
from autotune.service.errors import ApiError, translated
from autotune.service.limits import RateLimiter
from autotune.service.metrics import RequestMetrics
from autotune.store.tokens import Token, Tokens

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/v1/openapi.json"})
"""Paths that need no token."""

_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
_log = structlog.get_logger("autotune.service.requests")


class RequestLog:
    """The outermost layer: gives a request its id, counts it and writes one line about it. The
    path is logged without its query, and no header is."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request_id)
        begun, status = time.monotonic(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*_HEADERS, (b"x-request-id", request_id.encode("ascii"))]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            _log.exception("request broke off", method=scope["method"], path=scope["path"])
            if status:
                raise
            failed = ApiError(500, "internal_error", f"internal error; request {request_id}")
            await failed.response()(scope, receive, send_with_id)
        finally:
            self._finish(scope, status, time.monotonic() - begun)

    def _finish(self, scope: Scope, status: int, seconds: float) -> None:
        self._metrics.count(scope, status, seconds)
        token = scope.get("state", {}).get("token")
        _log.info(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            seconds=round(seconds, 4),
            token=token.name if token else None,
        )


class Gate:
    """Lets nobody in without a token, nobody too often, and nothing too large. A request is
    refused before a byte of its body is parsed."""

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        limiter: RateLimiter,
        max_body_bytes: int,
        open_paths: frozenset[str],
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._limiter = limiter
        self._max_body_bytes = max_body_bytes
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            if scope["path"] not in self._open_paths:
                await self._admit(scope)
            if says_longer(scope, self._max_body_bytes):
                raise self._too_large()
        except (ApiError, StoreError) as error:
            await translated(error).response()(scope, receive, send)
            return
        await self._app(scope, limited(receive, self._max_body_bytes, self._too_large), send)

    async def _admit(self, scope: Scope) -> None:
        given, secret = header(scope, b"authorization"), bearer(scope)
        token: Token | None = None
        if secret:
            token = await run_in_threadpool(self._tokens.find, secret)
        client = scope.get("client") or ("unknown", 0)
        # A wrong token must not use up the requests of a right one, nor be tried without end.
        wait = self._limiter.take(f"token {token.name}" if token else f"address {client[0]}")
        if wait:
            raise _too_many(wait)
        if token is None:
            raise _unauthorized(bool(given))
        scope.setdefault("state", {})["token"] = token

    def _too_large(self) -> ApiError:
        return ApiError(
            413, "body_too_large", f"the body has more than {self._max_body_bytes} bytes"
        )


def _unauthorized(given: bool) -> ApiError:
    words = "this token is none, or was revoked" if given else "no token"
    challenge = 'Bearer realm="autotune"' + (', error="invalid_token"' if given else "")
    return ApiError(
        401,
        "unauthorized",
        f"{words}; send the header 'Authorization: Bearer TOKEN'",
        hint="an administrator makes one with: autotune serve token create NAME --scope read",
        headers={"WWW-Authenticate": challenge},
    )


def _too_many(wait: int) -> ApiError:
    return ApiError(
        429,
        "too_many_requests",
        f"too many requests; the next one is answered in {wait} s",
        headers={"Retry-After": str(wait)},
    )

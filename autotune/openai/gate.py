"""What every request passes before its body is read: a key and a size."""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from autotune.openai.errors import ApiError
from autotune.service.asgi import bearer, limited, says_longer

MAX_BODY_BYTES = 8 << 20
"""A prompt of a million token ids."""

_OPEN_PATHS = frozenset({"/health"})


class Gate:
    """Lets nobody in without the key, if there is one, and nothing too large."""

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app = app
        self._key = api_key.encode() if api_key is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, limited(receive, MAX_BODY_BYTES, _too_large), send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        if self._key is not None and scope["path"] not in _OPEN_PATHS:
            given = bearer(scope).encode("latin-1")
            if not hmac.compare_digest(given, self._key):
                return _unauthorized(bool(given))
        return _too_large() if says_longer(scope, MAX_BODY_BYTES) else None


def _unauthorized(given: bool) -> ApiError:
    words = "this API key is not the server's" if given else "no API key"
    return ApiError(
        f"{words}; send the header 'Authorization: Bearer KEY'",
        status=401,
        code="invalid_api_key",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _too_large() -> ApiError:
    return ApiError(
        f"the body has more than {MAX_BODY_BYTES} bytes", status=413, code="body_too_large"
    )

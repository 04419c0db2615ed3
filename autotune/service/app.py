"""The application: every part made once, and put together."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import anyio.to_thread
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from autotune.service.actions import Actions
from autotune.service.errors import add_handlers
from autotune.service.gate import OPEN_PATHS, Gate, RequestLog
from autotune.service.limits import RateLimiter
from autotune.service.metrics import RequestMetrics
from autotune.service.routes import make_router
from autotune.service.settings import ServiceSettings
from autotune.service.streams import Streams
from autotune.service.studies import Studies
from autotune.service.supervisor import Supervisor
from autotune.service.system import make_system_router
from autotune.store.store import Store
from autotune.store.tokens import Tokens
from autotune.store.watch import Watch

_THREADS = 12
"""Fewer than the database's pool has connections: no request waits for one in vain."""


def make_app(settings: ServiceSettings, store: Store, supervisor: Supervisor) -> FastAPI:
    """The application, ready to be served.

    Args:
        settings: What the administrator decided.
        store: The database; the caller closes it.
        supervisor: Carries the queue while the application is served.
    """
    studies = Studies(store, settings.database)
    streams = Streams(settings, studies, Watch(store))
    metrics = RequestMetrics()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        supervisor.start()
        try:
            yield
        finally:
            supervisor.close()

    app = FastAPI(
        title="autotune",
        summary="Submit, watch, stop and read studies.",
        version=metadata.version("autotune"),
        openapi_url="/v1/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.state.streams = streams
    app.include_router(make_system_router(settings, store, studies, metrics))
    actions = Actions(settings, store, supervisor)
    app.include_router(make_router(settings, studies, actions, streams))
    add_handlers(app)
    _add_layers(app, settings, Tokens(store), metrics)
    app.openapi = functools.cache(functools.partial(_openapi, app))  # type: ignore[method-assign]
    return app


def _add_layers(
    app: FastAPI, settings: ServiceSettings, tokens: Tokens, metrics: RequestMetrics
) -> None:
    """The last one that is added is the first one that a request meets."""
    app.add_middleware(
        Gate,
        tokens=tokens,
        limiter=RateLimiter(settings.requests_per_second, settings.burst),
        max_body_bytes=settings.max_body_bytes,
        open_paths=OPEN_PATHS | ({"/metrics"} if settings.open_metrics else set()),
    )
    app.add_middleware(RequestLog, metrics=metrics)


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's own description, with the token that every path but the open ones needs."""
    found = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=app.routes
    )
    schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["token"] = {"type": "http", "scheme": "bearer"}
    for path, item in found["paths"].items():
        for operation in item.values():
            if path not in OPEN_PATHS:
                operation["security"] = [{"token": []}]
    return found

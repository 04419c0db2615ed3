"""Paths for whoever runs the service: is it alive, is it ready, how much does it do."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from autotune.errors import BrokerError
from autotune.service.access import requires
from autotune.service.errors import ErrorBody, unavailable
from autotune.service.metrics import RequestMetrics
from autotune.service.settings import ServiceSettings
from autotune.service.studies import Studies
from autotune.store.store import Store
from autotune.store.tokens import Scope


class Health(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """What the service needs is there."""

    database: Literal["reachable"] = "reachable"
    broker: Literal["reachable", "none"]


def make_system_router(
    settings: ServiceSettings, store: Store, studies: Studies, metrics: RequestMetrics
) -> APIRouter:
    """The paths outside ``/v1``.

    Args:
        settings: Of the service.
        store: Its database.
        studies: Counted.
        metrics: Of the requests.
    """
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> Health:
        """Whether the process answers; asks nothing else."""
        return Health()

    @router.get("/readyz", responses={503: {"model": ErrorBody}})
    def readyz() -> Readiness:
        """Whether database and broker can be reached."""
        store.identity()
        return Readiness(broker=_reach_broker(settings.broker))

    @router.get("/metrics", responses={401: {"model": ErrorBody}, 503: {"model": ErrorBody}})
    def numbers(request: Request) -> Response:
        """Numbers for Prometheus."""
        if not settings.open_metrics:
            requires(Scope.READ)(request)
        return Response(metrics.text(studies), media_type=CONTENT_TYPE_LATEST)

    return router


def _reach_broker(url: str | None) -> Literal["reachable", "none"]:
    if url is None:
        return "none"
    from autotune.execute.fleet.broker import Broker

    try:
        Broker(url).check()
    except BrokerError as error:
        raise unavailable("broker_unavailable", str(error)) from error
    return "reachable"

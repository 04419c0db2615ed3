"""The paths under ``/v1``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from fastapi import Path as PathParam
from fastapi.responses import FileResponse, HTMLResponse, StreamingResponse
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from autotune.config import Budget, StudyFile
from autotune.report.front_file import FrontFile
from autotune.service.access import Reader, Submitter
from autotune.service.actions import Actions
from autotune.service.errors import ErrorBody, not_found
from autotune.service.settings import ServiceSettings
from autotune.service.streams import Streams
from autotune.service.studies import Studies, StudyDetail, StudyOverview, StudyStatus

Name = Annotated[
    str,
    PathParam(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100, description="Name of a study."
    ),
]

_SANDBOX = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
REPORT_HEADERS = {
    "Content-Security-Policy": _SANDBOX + "img-src data: blob:; font-src data:; sandbox "
    "allow-scripts allow-downloads"
}
"""A report is one file with its scripts inside; it may ask nobody for anything."""


class Artifact(StrEnum):
    """The files of a study that can be had; no other file of the server can."""

    FRONT = "front.json"
    REPORT = "report.html"


class Submitted(BaseModel):
    """A study was put into the queue, or changed its state."""

    name: str
    status: StudyStatus


class ArtifactInfo(BaseModel):
    """A file that a search has written."""

    name: Artifact
    size_bytes: int


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in statuses}


_READING = _errors(401, 403, 404, 422, 429, 503)
_CHANGING = _errors(400, 401, 403, 404, 409, 413, 422, 429, 503)


def make_router(
    settings: ServiceSettings, studies: Studies, actions: Actions, streams: Streams
) -> APIRouter:
    """The paths under ``/v1``.

    Args:
        settings: Of the service.
        studies: Read from.
        actions: What changes something.
        streams: The event streams.
    """
    router = APIRouter(prefix="/v1")
    _add_reading(router, settings, studies)
    _add_changing(router, studies, actions)

    @router.get(
        "/studies/{name}/events",
        responses=_READING | {200: {"content": {"text/event-stream": {}}}},
        response_class=StreamingResponse,
    )
    async def watch(name: Name, _token: Reader) -> StreamingResponse:
        """What happens in a study, as server-sent events: `status`, `state`, `trial`, `phase`,
        `repetitions`, and `end` when nothing more will."""
        await run_in_threadpool(studies.status, name)
        streams.check()
        return StreamingResponse(streams.stream(name), media_type="text/event-stream")

    return router


def _add_reading(router: APIRouter, settings: ServiceSettings, studies: Studies) -> None:
    @router.get("/models", responses=_errors(401, 403, 429, 503))
    def models(_token: Reader) -> list[str]:
        """The models that a study may name."""
        return sorted(settings.models)

    @router.get("/studies", responses=_errors(401, 403, 429, 503))
    def list_studies(_token: Reader) -> list[StudyOverview]:
        """All studies, oldest first."""
        return studies.overviews()

    @router.get("/studies/{name}", responses=_READING)
    def show_study(name: Name, _token: Reader) -> StudyDetail:
        """One study: where it stands, its trials by outcome, and what is best so far."""
        return studies.detail(name)

    @router.get("/studies/{name}/front", responses=_READING)
    def front(name: Name, _token: Reader) -> FrontFile:
        """The Pareto front so far: what front.json would hold now."""
        return studies.front(name)

    @router.get("/studies/{name}/report", responses=_READING, response_class=HTMLResponse)
    def report(name: Name, _token: Reader) -> HTMLResponse:
        """The report so far: one HTML file that opens offline."""
        return HTMLResponse(studies.report(name), headers=REPORT_HEADERS)

    @router.get("/studies/{name}/artifacts", responses=_READING)
    def artifacts(name: Name, _token: Reader) -> list[ArtifactInfo]:
        """The files that the search has written so far."""
        studies.status(name)
        return [
            ArtifactInfo(name=one, size_bytes=file.stat().st_size)
            for one in Artifact
            if (file := _file(settings, name, one)).is_file()
        ]

    @router.get(
        "/studies/{name}/artifacts/{artifact}",
        responses=_READING | {200: {"content": {"application/json": {}, "text/html": {}}}},
        response_class=FileResponse,
    )
    def artifact_file(name: Name, artifact: Artifact, _token: Reader) -> FileResponse:
        """One of these files, as the search wrote it."""
        studies.status(name)
        file = _file(settings, name, artifact)
        if not file.is_file():
            raise not_found(f"study {name!r} has no {artifact} yet: a search writes it at its end")
        headers = REPORT_HEADERS if artifact is Artifact.REPORT else None
        return FileResponse(file, headers=headers)


def _add_changing(router: APIRouter, studies: Studies, actions: Actions) -> None:
    @router.post("/studies", status_code=202, responses=_CHANGING)
    def submit(study: StudyFile, token: Submitter, response: Response) -> Submitted:
        """Submits a study file as JSON. `model` is a name from `/v1/models`; keys that name files
        of the server are refused."""
        name = actions.submit(study, token)
        response.headers["Location"] = f"/v1/studies/{name}"
        return Submitted(name=name, status=StudyStatus.QUEUED)

    @router.post("/studies/{name}/stop", status_code=202, responses=_CHANGING)
    def stop(name: Name, token: Submitter) -> Submitted:
        """Stops a study as Ctrl-C does: finished trials stay, and it can be resumed."""
        actions.stop(name, token)
        return Submitted(name=name, status=studies.status(name))

    @router.post("/studies/{name}/resume", status_code=202, responses=_CHANGING)
    def resume(
        name: Name, token: Submitter, budget: Annotated[Budget | None, Body()] = None
    ) -> Submitted:
        """Goes on with a study, also with a larger budget; what is left out of it stays."""
        wanted = budget.model_dump(exclude_none=True, exclude_unset=True) if budget else {}
        actions.resume(name, token, wanted)
        return Submitted(name=name, status=StudyStatus.QUEUED)


def _file(settings: ServiceSettings, study: str, artifact: Artifact) -> Path:
    """A member of a closed set, in the folder of a study that the database knows."""
    return settings.directory / study / artifact.value

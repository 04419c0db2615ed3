"""Server-sent events: what happens in a study, as it happens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool

from autotune.errors import StoreError
from autotune.report.events import StudyEvent, events
from autotune.service.errors import ApiError, translated
from autotune.service.settings import ServiceSettings
from autotune.service.studies import Studies, StudyStatus
from autotune.store.watch import Look, Watch


class Streams:
    """Counts the streams that are open, and makes new ones."""

    def __init__(self, settings: ServiceSettings, studies: Studies, watch: Watch) -> None:
        self._settings = settings
        self._studies = studies
        self._watch = watch
        self._open = 0
        self._over = asyncio.Event()

    def close(self) -> None:
        """Ends all streams: the service ends, and would wait for them."""
        self._over.set()

    def check(self) -> None:
        """Refuses one stream too many.

        Raises:
            ApiError: There are as many as may be.
        """
        if self._open >= self._settings.max_streams:
            raise ApiError(
                429,
                "too_many_streams",
                f"{self._open} event streams are open already",
                hint="close one, or ask for the study's state now and then",
                headers={"Retry-After": "5"},
            )

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """Everything that was there already, then what happens, until the study ends.

        A client that comes back gets a new beginning: there is nothing to remember for it.

        Args:
            name: Of a study that exists.
        """
        self._open += 1
        try:
            async for message in self._messages(name):
                yield message
        finally:
            self._open -= 1

    async def _messages(self, name: str) -> AsyncIterator[bytes]:
        before: Look | None = None
        status: StudyStatus | None = None
        said_at = time.monotonic()
        while not self._over.is_set():
            try:
                now, look = await run_in_threadpool(self._look, name)
            except (StoreError, ApiError) as error:
                yield _message("error", translated(error).told.model_dump(exclude_none=True))
                return
            said = list(_news(status, now)) + list(events(before, look) if look else ())
            for event in said:
                yield _message(event.kind, event.data)
            before, status = look, now
            if now.is_over:
                yield _message("end", {"status": now.value})
                return
            if said:
                said_at = time.monotonic()
            elif time.monotonic() - said_at > self._settings.keepalive_seconds:
                said_at = time.monotonic()
                yield b": alive\n\n"
            await self._pause()

    def _look(self, name: str) -> tuple[StudyStatus, Look | None]:
        # The status first: what happened before the end is in the look.
        status = self._studies.status(name)
        return status, self._watch.look(name)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._settings.look_seconds):
                await self._over.wait()
        except TimeoutError:
            return


def _news(before: StudyStatus | None, now: StudyStatus) -> list[StudyEvent]:
    return [] if before is now else [StudyEvent(kind="status", data={"status": now.value})]


def _message(kind: str, data: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode("ascii")

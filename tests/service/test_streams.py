"""Event streams: how many there may be, and what they say when the database goes away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.service.errors import ApiError
from autotune.service.settings import ServiceSettings
from autotune.service.streams import Streams
from autotune.service.studies import Studies
from autotune.store import Store
from autotune.store.submissions import Submissions
from autotune.store.watch import Watch


@pytest.fixture
def streams(tmp_path: Path) -> Iterator[Streams]:
    """Room for one; the study ``s`` waits in the queue."""
    url = f"sqlite:///{tmp_path}/a.db"
    settings = ServiceSettings(
        database=url,
        directory=tmp_path,
        models={},
        max_streams=1,
        look_seconds=0.01,
        keepalive_seconds=0.0,
    )
    with Store.open(url) as store:
        Submissions(store).add("s", "ci", {})
        yield Streams(settings, Studies(store, url), Watch(store))


def test_stream_says_that_it_is_alive_and_ends_with_the_service(streams: Streams) -> None:
    async def read() -> list[bytes]:
        stream = streams.stream("s")
        said = [await anext(stream), await anext(stream)]
        with pytest.raises(ApiError, match="1 event streams are open already"):
            streams.check()
        streams.close()
        return said + [message async for message in stream]

    first, second, *_ = asyncio.run(read())
    assert first == b'event: status\ndata: {"status": "queued"}\n\n'
    assert second == b": alive\n\n"
    streams.check()


def test_stream_of_a_study_that_is_not_there_says_so(streams: Streams) -> None:
    async def read() -> list[bytes]:
        return [message async for message in streams.stream("t")]

    (said,) = asyncio.run(read())
    assert said.startswith(b'event: error\ndata: {"code": "not_found"')

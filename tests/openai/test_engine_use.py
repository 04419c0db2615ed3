"""What becomes of the engine: requests that join, clients that leave, answers that end early."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

import autotune as public
from autotune.dispatch.request import PendingRequest
from autotune.dispatch.server import Server
from autotune.openai.model import LoadedModel
from autotune.openai.server import make_app
from fleet_support.servers import free_port, wait_for
from openai_support.served import NAME, TEXT

pytestmark = pytest.mark.slow


class Watched:
    """The real model; keeps what is asked of it, and can hold it up after the first token."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.name = server.name
        self.max_positions = server.max_positions
        self.tokenizer = server.tokenizer
        self.pending: list[PendingRequest] = []
        self.held: Callable[[], object] = lambda: None

    def stream(
        self, prompt: Sequence[int], count: int, on_tokens: Callable[[Sequence[int]], None]
    ) -> PendingRequest:
        def hold(tokens: Sequence[int]) -> None:
            on_tokens(tokens)
            held, self.held = self.held, lambda: None
            held()

        self.pending.append(self.server.stream(prompt, count, hold))
        return self.pending[-1]

    def close(self) -> None:
        raise AssertionError("its owner does")


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Iterator[Server]:
    with public.load(folder) as server:
        yield server


@pytest.fixture
def model(loaded: Server) -> Watched:
    return Watched(loaded)


@pytest.fixture
def client(model: Watched) -> Iterator[openai.OpenAI]:
    """Of a server on a real socket, in this process."""
    served: LoadedModel = model
    port = free_port()
    config = uvicorn.Config(make_app(served, None), port=port, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_for(lambda: server.started, 30, "the server is up")
    made = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="any", max_retries=0)
    with made:
        yield made
    server.should_exit = True
    thread.join()


PROMPT = [5, 6, 7, 8, 9, 10, 11, 12]
LONG: Any = {"model": NAME, "prompt": PROMPT, "max_tokens": 1000}


def until_stopped(model: Watched) -> Callable[[], object]:
    """Holds the model up until somebody has stopped what it does."""

    def wait() -> None:
        wait_for(lambda: any(p._unwanted for p in model.pending), 60, "the request is stopped")

    return wait


def test_a_client_that_leaves_a_stream_frees_the_engine(
    client: openai.OpenAI, model: Watched
) -> None:
    model.held = until_stopped(model)
    with client.completions.create(**LONG, stream=True) as chunks:
        next(iter(chunks))
    assert len(model.pending[0].answer.result(60).token_ids) < 1000
    assert client.completions.create(**LONG | {"max_tokens": 2}).usage is not None


def test_a_client_that_leaves_without_a_stream_frees_the_engine_too(
    client: openai.OpenAI, model: Watched
) -> None:
    model.held = until_stopped(model)
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=httpx.Timeout(60, read=0.5)).completions.create(**LONG)
    wait_for(lambda: bool(model.pending), 60, "the request has come")
    assert len(model.pending[0].answer.result(60).token_ids) < 1000


def test_a_request_that_waits_is_not_begun_once_its_client_has_left(
    client: openai.OpenAI, model: Watched
) -> None:
    begun = threading.Event()

    def hold() -> None:
        begun.set()
        wait_for(lambda: any(p._unwanted for p in model.pending[1:]), 60, "the other is stopped")

    model.held = hold
    first = threading.Thread(target=lambda: client.completions.create(**LONG))
    first.start()
    assert begun.wait(60)
    impatient = client.with_options(timeout=httpx.Timeout(60, read=0.5))
    with pytest.raises(openai.APITimeoutError):
        impatient.completions.create(**LONG | {"max_tokens": 3})
    first.join()
    wait_for(lambda: model.pending[1].answer.done(), 60, "the other one is looked at")
    assert model.pending[1].answer.cancelled()
    assert model.pending[1].tokens == []


def test_requests_of_one_shape_that_wait_are_joined(client: openai.OpenAI, model: Watched) -> None:
    begun = threading.Event()

    def hold() -> None:
        begun.set()
        wait_for(lambda: len(model.pending) == 5, 60, "all of them wait")

    model.held = hold

    def ask(first: int) -> None:
        prompt = [first, *PROMPT[1:]]
        stream = client.completions.create(
            **LONG | {"prompt": prompt, "max_tokens": 6}, stream=first % 2 == 0
        )
        if first % 2 == 0:
            list(stream)

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(20, 25)]
    threads[0].start()
    assert begun.wait(60)
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [pending.answer.result().batch_size for pending in model.pending]
    assert sizes[0] == 1
    assert sorted(sizes[1:]) == [1, 3, 3, 3]  # 3 is the largest that the table has measured


def test_an_answer_ends_with_its_sequence(
    client: openai.OpenAI,
    model: Watched,
    loaded: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And so does the computation: what follows is not waited for."""
    (said,) = loaded.generate([TEXT], max_new_tokens=40)
    assert len(said.token_ids) == 40
    end = next((token for token in said.token_ids if token != said.token_ids[0]), None)
    end = said.token_ids[0] if end is None else end
    monkeypatch.setattr(loaded, "_ends", frozenset({end}))
    count = said.token_ids.index(end)
    answer = client.completions.create(model=NAME, prompt=TEXT, max_tokens=900)
    assert answer.choices[0].text == model.tokenizer.decode(said.token_ids[:count])
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == count
    assert model.pending[0].answer.result().token_ids == said.token_ids[:count]


def test_a_death_of_the_engine_is_told(client: openai.OpenAI, model: Watched) -> None:
    """In the stream that has begun; the next request has a new process."""

    def kill() -> None:
        for sessions in model.server._sessions.values():
            sessions._held["candidate"][1].terminate()

    model.held = kill
    with pytest.raises(openai.APIError, match="was killed by SIGKILL"):
        list(client.completions.create(**LONG, stream=True))
    model.held = kill
    with pytest.raises(openai.InternalServerError, match="was killed by SIGKILL"):
        client.completions.create(**LONG)
    assert client.completions.create(**LONG | {"max_tokens": 2}).choices[0].finish_reason

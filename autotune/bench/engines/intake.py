"""How requests come in: as token ids, or as text that is tokenized in time or ahead of it."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from autotune.bench.tokenizer import begin_process, ids_in_process
from autotune.engine import Request, TextRequest
from autotune.plugin import Unsupported

INTAKE: Mapping[str, Any] = {
    "tokenize": "inline",
    "tokenize_ahead": 4,
    "transfer": "direct",
}
"""Run arguments of requests that come as text: who tokenizes them, how many ahead of those that
are computed, and how token ids get to the device."""


class Ahead:
    """Somebody who tokenizes the requests that come next: a thread, or a process that has a
    tokenizer of its own. It is kept from one traffic to the next."""

    def __init__(self) -> None:
        self._kind = "inline"
        self._executor: Executor | None = None
        self._tokenize: Callable[[str, int], list[int]] = ids_in_process
        self.notes: tuple[str, ...] = ()
        """What a person should know of it."""

    def start(self, kind: str, example: TextRequest) -> None:
        """Is there when this returns, so that no request waits for it to begin.

        Args:
            kind: ``thread`` or ``process``.
            example: Any of the requests.
        """
        if kind == self._kind:
            return
        self.close()
        if kind == "thread":
            self._executor, self._tokenize = ThreadPoolExecutor(1, "tokenizer"), example.tokenize
        else:
            self._executor, self._tokenize = _new_process(example), ids_in_process
            self.notes = (_told(self._executor.submit(os.getpid).result()),)
        self._kind = kind

    def begin(self, request: TextRequest) -> Future[list[int]]:
        """Has a request tokenized, after those before it."""
        assert self._executor is not None
        return self._executor.submit(self._tokenize, request.text, request.prompt_tokens)

    def close(self) -> None:
        """Ends the thread or the process."""
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor, self._kind, self.notes = None, "inline", ()


def _new_process(example: TextRequest) -> Executor:
    """A new interpreter: threads of torch and CUDA do not survive a fork."""
    arguments = os.getpid(), example.tokenize
    context = multiprocessing.get_context("spawn")
    made = ProcessPoolExecutor(1, context, initializer=begin_process, initargs=arguments)
    made.submit(ids_in_process, example.text, example.prompt_tokens).result()
    return made


def _told(pid: int) -> str:
    words = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").partition("VmRSS:")[2]
    mib = int(words.split()[0]) / 1024
    return (
        f"the process that tokenizes takes {mib:.0f} MiB of the host's memory, which the peaks of "
        "the process that runs the model leave out"
    )


class Intake:
    """The requests of one traffic in the order in which they come."""

    def __init__(
        self,
        requests: Sequence[Request | TextRequest],
        run_args: Mapping[str, Any],
        ahead: Ahead,
    ) -> None:
        """
        Args:
            requests: All of them.
            run_args: Those of ``INTAKE``.
            ahead: Who tokenizes, unless whoever takes a request does.
        """
        self._waiting = deque(requests)
        self._coming: deque[tuple[TextRequest, Future[list[int]]]] = deque()
        self._ahead = ahead if run_args["tokenize"] != "inline" else None
        self._depth = int(run_args["tokenize_ahead"])
        self._pins = run_args["transfer"] == "pinned"

    def __len__(self) -> int:
        return len(self._waiting) + len(self._coming)

    @property
    def adapter(self) -> int | None:
        """That of the next request."""
        return (self._coming[0][0] if self._coming else self._waiting[0]).adapter

    def take(self, most: int, of_one_adapter: bool) -> list[Request]:
        """The next requests as token ids.

        Args:
            most: So many, where there are.
            of_one_adapter: Only those before the first one with another adapter than the next.
        """
        taken: list[Request] = []
        while len(self) and len(taken) < most:
            if of_one_adapter and taken and self.adapter != taken[0].adapter:
                break
            taken.append(self._next())
        return taken

    def _next(self) -> Request:
        request = self._next_ahead(self._ahead) if self._ahead else self._next_inline()
        return replace(request, prompt=request.prompt.pin_memory()) if self._pins else request

    def _next_inline(self) -> Request:
        request = self._waiting.popleft()
        if isinstance(request, Request):
            return request
        return _tokenized(request, request.tokenize(request.text, request.prompt_tokens))

    def _next_ahead(self, ahead: Ahead) -> Request:
        """Waits for it, with those after it on their way."""
        while self._waiting and len(self._coming) <= self._depth:
            request = self._waiting.popleft()
            assert isinstance(request, TextRequest)
            self._coming.append((request, ahead.begin(request)))
        first, ids = self._coming.popleft()
        return _tokenized(first, ids.result())


def _tokenized(request: TextRequest, ids: list[int]) -> Request:
    return Request(torch.tensor(ids), request.new_tokens, request.adapter)


def open_intake(
    ahead: Ahead,
    requests: Sequence[Request | TextRequest],
    run_args: Mapping[str, Any],
    device: torch.device,
) -> None:
    """Has whoever tokenizes ahead be there.

    Args:
        ahead: Starts, if the run arguments ask for it.
        requests: All of them.
        run_args: Those of ``INTAKE``.
        device: The model's.

    Raises:
        Unsupported: There is nothing to tokenize, or nothing to copy to.
    """
    if run_args["transfer"] == "pinned" and device.type != "cuda":
        raise Unsupported(f"pinned memory is for copies to a GPU, and the model is on {device}")
    if run_args["tokenize"] == "inline":
        return
    texts = [request for request in requests if isinstance(request, TextRequest)]
    if len(texts) < len(requests):
        raise Unsupported(
            "only requests that come as text can be tokenized ahead: set "
            "workload.traffic.as_text: true"
        )
    ahead.start(run_args["tokenize"], texts[0])

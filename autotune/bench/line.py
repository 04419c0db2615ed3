"""The way to the parent while an operation runs: what came so far, and whether to go on."""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import TextIO

from autotune.bench.protocol import Reply


class Stopped(Exception):
    """The parent has asked for something else, or is gone: nobody reads the tokens any more."""


class Line:
    """Both ends of the pipe to the parent."""

    def __init__(self, requests: TextIO, replies: TextIO) -> None:
        """
        Args:
            requests: Of which every line so far was answered, so that nothing of it is buffered.
            replies: Flushed after each line.
        """
        self._requests = requests
        self._replies = replies

    def tell(self, tokens: Sequence[Sequence[int]]) -> None:
        """Sends each sequence's next tokens.

        Raises:
            Stopped: A request has come meanwhile, which can only be to stop.
        """
        part = Reply(tokens=tuple(map(tuple, tokens)), more=True)
        self._replies.write(part.model_dump_json(exclude_defaults=True) + "\n")
        if select.select([self._requests], [], [], 0)[0]:
            raise Stopped

    def reply(self, reply: Reply) -> None:
        """Ends an operation."""
        self._replies.write(reply.model_dump_json() + "\n")

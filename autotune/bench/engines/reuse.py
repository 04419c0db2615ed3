"""What is kept between the requests of one traffic: keys and values of prompts, whole answers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

import torch

from autotune.bench.engines.rows import Held
from autotune.engine import Request

_V = TypeVar("_V")


class Lru(Generic[_V]):
    """The values that were used latest, by key."""

    def __init__(self, entries: int) -> None:
        """
        Args:
            entries: The most that are kept; 0 keeps nothing.
        """
        self._most = entries
        self.held: OrderedDict[Hashable, _V] = OrderedDict()
        """The one used latest is the last."""

    def get(self, key: Hashable) -> _V | None:
        """What is kept, used once more."""
        if key in self.held:
            self.held.move_to_end(key)
        return self.held.get(key)

    def put(self, key: Hashable, value: _V) -> None:
        """Keeps a value, in the place of the one that was not used for longest."""
        self.held[key] = value
        self.held.move_to_end(key)
        while len(self.held) > self._most:
            self.held.popitem(last=False)


class Answers:
    """Whole answers, for requests that come again."""

    def __init__(self, entries: int) -> None:
        """
        Args:
            entries: As of ``Lru``.
        """
        self._lru: Lru[list[int]] = Lru(entries)

    def find(self, request: Request) -> list[int] | None:
        """The tokens that the same request got; None if it is not known."""
        return self._lru.get(_name(request))

    def put(self, request: Request, tokens: list[int]) -> None:
        """Keeps an answer."""
        self._lru.put(_name(request), tokens)


def _name(request: Request) -> Hashable:
    return request.adapter, request.new_tokens, request.prompt.numpy().tobytes()


class Prefixes:
    """Keys and values of the latest prompts, for those that begin with the same tokens.

    The idea is that of SGLang's RadixAttention (Zheng et al., 2023), without its tree: a few
    prompts are compared one by one.
    """

    def __init__(self, entries: int) -> None:
        """
        Args:
            entries: The most prompts that are kept.
        """
        self._lru: Lru[tuple[Request, Held]] = Lru(entries)

    def find(self, request: Request) -> Held:
        """The longest part that is known of a prompt, but its last token: that has to be
        computed, for what the model says to it.

        Args:
            request: Whose prompt; with another adapter nothing of it is known.
        """
        prompt = request.prompt
        shared = {
            key: _shared(prompt, known.prompt)
            for key, (known, _) in self._lru.held.items()
            if known.adapter == request.adapter
        }
        best = max(shared, key=shared.__getitem__, default=None)
        length = min(shared[best], len(prompt) - 1) if best is not None else 0
        if length == 0:
            return []
        found = self._lru.get(best)
        assert found is not None
        return [(keys[:, :length], values[:, :length]) for keys, values in found[1]]

    def put(self, request: Request, held: Held) -> None:
        """Keeps a prompt's keys and values.

        Args:
            request: As for ``find``.
            held: Of all tokens of its prompt; nobody writes to them.
        """
        self._lru.put((request.adapter, request.prompt.numpy().tobytes()), (request, held))


def _shared(one: torch.Tensor, other: torch.Tensor) -> int:
    """How many first tokens are the same."""
    length = min(len(one), len(other))
    return int((one[:length] == other[:length]).long().cumprod(dim=0).sum())

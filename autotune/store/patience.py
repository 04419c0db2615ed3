"""Waiting for a database server that is away for a moment: restarted, or behind a broken link."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from autotune.errors import StoreUnreachable

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Patient(Protocol):
    """Something that asks a database."""

    patience_seconds: float
    """How long an unreachable server is waited for; 0: not at all."""


_Self = TypeVar("_Self", bound=Patient)


def patiently(call: Callable[[], _R], patience_seconds: float) -> _R:
    """Calls until the server answers.

    Args:
        call: One transaction, which may be repeated: it is not known whether the server still
            carried out the one that broke off.
        patience_seconds: How long to try.

    Raises:
        StoreUnreachable: It never did.
    """
    try:
        return call()  # nearly always it answers, and to prepare for more takes a moment
    except StoreUnreachable:
        if not patience_seconds:
            raise
    attempts = Retrying(
        retry=retry_if_exception_type(StoreUnreachable),
        stop=stop_after_delay(patience_seconds),
        wait=wait_exponential(multiplier=0.1, max=2.0),
        reraise=True,
    )
    return attempts(call)


def transaction(
    method: Callable[Concatenate[_Self, _P], _R],
) -> Callable[Concatenate[_Self, _P], _R]:
    """A method that is one transaction, and waits for the server as long as its object does."""

    @wraps(method)
    def wrapped(self: _Self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return patiently(lambda: method(self, *args, **kwargs), self.patience_seconds)

    return cast(Callable[Concatenate[_Self, _P], _R], wrapped)

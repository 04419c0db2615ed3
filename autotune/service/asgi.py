"""What is read of a request before anything parses it: headers, and how long its body is."""

from __future__ import annotations

from collections.abc import Callable

from starlette.types import Message, Receive, Scope


def header(scope: Scope, name: bytes) -> str:
    """A header's value; empty if it is not there.

    Args:
        scope: Of the request.
        name: In lower case.
    """
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def bearer(scope: Scope) -> str:
    """The secret of ``Authorization: Bearer``; empty if there is none."""
    kind, _, secret = header(scope, b"authorization").partition(" ")
    return secret.strip() if kind.lower() == "bearer" else ""


def says_longer(scope: Scope, most: int) -> bool:
    """Whether a request says that its body has more bytes."""
    length = header(scope, b"content-length")
    return length.isdecimal() and int(length[:20]) > most


def limited(receive: Receive, most: int, error: Callable[[], Exception]) -> Receive:
    """Counts what arrives: a body may come without saying how long it is.

    Args:
        receive: The request's.
        most: Bytes.
        error: Makes what is raised where there are more.
    """
    left = most

    async def receive_limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise error()
        return message

    return receive_limited

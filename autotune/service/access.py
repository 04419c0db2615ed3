"""Who may do what: the scope of a request's token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Request

from autotune.service.errors import ApiError
from autotune.store.submissions import Submission
from autotune.store.tokens import Scope, Token


def requires(scope: Scope) -> Callable[[Request], Token]:
    """A dependency that gives the request's token, if its scope is wide enough.

    Args:
        scope: The least that is needed.
    """

    def check(request: Request) -> Token:
        token: Token = request.state.token
        if not token.scope.includes(scope):
            raise forbidden(scope, f"this needs the scope {scope}; token has {token.scope}")
        return token

    return check


Reader = Annotated[Token, Depends(requires(Scope.READ))]
Submitter = Annotated[Token, Depends(requires(Scope.SUBMIT))]


def check_owner(token: Token, submission: Submission | None, name: str) -> None:
    """Lets a study be stopped and resumed by the token that submitted it, and by administrators.

    Raises:
        ApiError: It is neither.
    """
    if token.scope.includes(Scope.ADMIN):
        return
    if submission is None or submission.token != token.name:
        raise forbidden(Scope.ADMIN, f"study {name!r} was begun by somebody else")


def forbidden(scope: Scope, message: str) -> ApiError:
    """A token whose scope is too narrow.

    Args:
        scope: What would have been needed.
        message: Why.
    """
    wider = [other.value for other in Scope if other.includes(scope)]
    challenge = f'Bearer realm="autotune", error="insufficient_scope", scope="{scope}"'
    return ApiError(
        403, "forbidden", message, allowed=wider, headers={"WWW-Authenticate": challenge}
    )

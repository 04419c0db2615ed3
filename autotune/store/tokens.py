"""Tokens of the HTTP API: made once, shown once, kept as a hash."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from autotune.errors import InputError, unknown_name
from autotune.store.patience import transaction
from autotune.store.store import Store
from autotune.store.tables import TokenRow, now

_SECRET_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_TOKEN = re.compile(r"autotune_(?P<identifier>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})")


class Scope(StrEnum):
    """What a token may do; each scope includes those before it."""

    READ = "read"
    """See studies, their progress and their results."""
    SUBMIT = "submit"
    """Submit studies, and stop and resume one's own."""
    ADMIN = "admin"
    """Stop and resume every study, those begun from a command line included."""

    def includes(self, other: Scope) -> bool:
        """Whether this scope allows what another one allows."""
        order = list(Scope)
        return order.index(self) >= order.index(other)


class Token(BaseModel):
    """A token without its secret."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    name: str
    scope: Scope
    created_at: datetime
    revoked_at: datetime | None = None


class Tokens:
    """The tokens in one database.

    A secret is 32 random bytes. Nobody can try 2²⁵⁶ of them, so that a slow password hash with a
    salt would add nothing but work for every request: SHA-256 is enough to make a stolen database
    worthless to whoever wants to log in. Digests are compared in constant time, so that the time
    of an answer says nothing about how many of their first bytes were right.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.patience_seconds = store.patience_seconds

    def create(self, name: str, scope: Scope) -> str:
        """Makes a token.

        Args:
            name: Names its holder in logs and lists.
            scope: What it may do.

        Returns:
            The token itself. It is stored nowhere: this is the only time it can be seen.

        Raises:
            InputError: The name is not allowed, or is taken.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"no name for a token: {name!r}; allowed: letters, digits, ., _, -, at most 100"
            )
        identifier, secret = secrets.token_hex(8), secrets.token_urlsafe(_SECRET_BYTES)
        row = TokenRow(
            name=name,
            scope=scope.value,
            identifier=identifier,
            secret_sha256=_sha256(secret),
            created_at=now(),
        )
        try:
            with self._store._write() as session:
                session.add(row)
        except IntegrityError as error:
            raise InputError(
                f"a token named {name!r} exists; choose another name: a revoked one keeps its own"
            ) from error
        return f"autotune_{identifier}_{secret}"

    @transaction
    def find(self, given: str) -> Token | None:
        """The token that somebody shows; None if it is none, or was revoked."""
        parts = _TOKEN.fullmatch(given)
        if parts is None:
            return None
        with self._store._read() as session:
            row = session.scalar(select(TokenRow).filter_by(identifier=parts["identifier"]))
            if row is None or row.revoked_at is not None:
                return None
            right = hmac.compare_digest(row.secret_sha256, _sha256(parts["secret"]))
            return Token.model_validate(row) if right else None

    @transaction
    def all(self) -> list[Token]:
        """Every token, revoked ones included, oldest first."""
        with self._store._read() as session:
            found = session.scalars(select(TokenRow).order_by(TokenRow.id))
            return [Token.model_validate(row) for row in found]

    @transaction
    def revoke(self, name: str) -> None:
        """Takes a token's rights away for ever, from the next request on. Idempotent.

        Raises:
            InputError: There is none of that name.
        """
        with self._store._write() as session:
            row = session.scalar(select(TokenRow).filter_by(name=name))
            if row is None:
                names = session.scalars(select(TokenRow.name))
                raise InputError(unknown_name("token", name, names))
            row.revoked_at = row.revoked_at or now()


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode("ascii")).hexdigest()

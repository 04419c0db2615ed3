"""Optuna's tables in the study's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage
from sqlalchemy import URL

from autotune.errors import StoreError
from autotune.store.database import explained, parse_url, ping_when_idle, sqlite_file, words
from autotune.store.patience import patiently
from autotune.store.store import Store


def open_storage(url: URL, patience_seconds: float = 0.0) -> RDBStorage:
    """Optuna's storage; its tables are made where there are none.

    Args:
        url: Of the database.
        patience_seconds: How long a server that is away is waited for.

    Raises:
        StoreError: Another version of Optuna made them, or the server stays away.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def make() -> RDBStorage:
        with usable(url):
            return RDBStorage(url.render_as_string(hide_password=False))

    tables = patiently(make, patience_seconds)
    if not sqlite_file(url):
        ping_when_idle(tables.engine)
    return tables


@contextmanager
def unwrapped(url: URL) -> Iterator[None]:
    """Turns database errors into ``StoreError`` as ``explained`` does, also those that Optuna puts
    into one of its own."""
    with explained(url):
        try:
            yield
        except optuna.exceptions.StorageInternalError as error:
            raise (error.__cause__ or error) from error


@contextmanager
def usable(url: URL) -> Iterator[None]:
    """Says in our words that Optuna cannot use the database.

    Raises:
        StoreUnreachable: The server is away.
        StoreError: Another version of Optuna made its tables, or any other reason.
    """
    try:
        with unwrapped(url):
            yield
    except (RuntimeError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise StoreError(
            f"Optuna cannot use the database {words(url)}: {error}; upgrade autotune and optuna, "
            "or use another --database"
        ) from error


def upgrade_database(url: str) -> None:
    """Brings a database, or an empty one, to this version's schema: our tables and Optuna's.

    Raises:
        StoreError: It cannot be reached, or another version made it.
    """
    Store.open(url).close()
    storage = open_storage(parse_url(url))
    storage.remove_session()
    storage.engine.dispose()

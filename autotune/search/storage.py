"""Optuna's tables in the study's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import sqlalchemy.exc
from optuna.storages import RDBStorage
from sqlalchemy import URL

from autotune.errors import StoreError
from autotune.store.database import parse_url, sqlite_file, words
from autotune.store.store import Store


def open_storage(url: URL) -> RDBStorage:
    """Optuna's storage; its tables are made where there are none.

    Raises:
        StoreError: Another version of Optuna made them.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    engine_kwargs = {} if sqlite_file(url) else {"pool_pre_ping": True}
    with usable(url):
        return RDBStorage(url.render_as_string(hide_password=False), engine_kwargs=engine_kwargs)


@contextmanager
def usable(url: URL) -> Iterator[None]:
    """Says in our words that Optuna cannot use the database.

    Raises:
        StoreError: It cannot.
    """
    try:
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

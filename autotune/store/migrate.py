"""Brings a database to the schema of this version, with Alembic and without an ini file."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from autotune.errors import StoreError
from autotune.store.database import for_writing, words

VERSION_TABLE = "autotune_alembic_version"
"""Not Alembic's own name: Optuna keeps its ``alembic_version`` in the same database."""

_LOCK_KEY = 0x6175746F
"""Any number that no other program locks in PostgreSQL ("auto")."""


def alembic_config() -> Config:
    """Alembic's configuration for the migrations inside this package."""
    config = Config()
    directory = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", directory.replace("%", "%%"))
    return config


def revision(connection: Connection) -> str | None:
    """The schema revision of a database; None where there are no tables of autotune."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def upgrade(engine: Engine) -> None:
    """Creates or upgrades the tables; one transaction, safe beside other processes.

    Raises:
        StoreError: Another version of autotune wrote the database.
    """
    scripts = ScriptDirectory.from_config(alembic_config())
    known = [script.revision for script in scripts.walk_revisions()]
    with engine.connect() as connection:
        found = revision(connection)
    if found == known[0]:
        return
    if found is not None and found not in known:
        raise StoreError(
            f"database {words(engine.url)} has the schema revision {found!r}; this version of "
            f"autotune knows {', '.join(reversed(known))}; "
            "upgrade autotune or use another --database"
        )
    with for_writing(engine).begin() as connection:
        _migrate(connection)


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")

"""Run by Alembic; the connection comes from ``autotune.store.migrate``."""

from __future__ import annotations

from typing import Any

from alembic import context

from autotune.store.migrate import VERSION_TABLE
from autotune.store.tables import TABLE_PREFIX, Base


def is_ours(name: str | None, kind: str, _parents: Any) -> bool:
    """Keeps autogenerate away from Optuna's tables."""
    return kind != "table" or (name is not None and name.startswith(TABLE_PREFIX))


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_name=is_ours,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from autotune.errors import StoreError
from autotune.search.storage import upgrade_database
from autotune.store import Store


def test_empty_database_gets_both_schemas_and_keeps_them(database: str) -> None:
    upgrade_database(database)
    upgrade_database(database)
    with Store.open_existing(database) as store:
        assert store.studies() == []
    engine = sqlalchemy.create_engine(database)
    tables = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    assert {"studies", "trials", "autotune_studies", "autotune_trials"} <= set(tables)


def test_tables_of_another_version_of_optuna_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    upgrade_database(url)
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = 'v99.0.0.a'"))
    engine.dispose()
    with pytest.raises(StoreError, match="Optuna cannot use the database"):
        upgrade_database(url)

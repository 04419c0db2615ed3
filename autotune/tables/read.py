"""Reads a recorded table from a file: CSV, or the T4 results of kernel tuners."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from autotune.errors import InputError
from autotune.tables.csv_file import read_csv
from autotune.tables.t4 import read_t4
from autotune.tables.table import Objective, Row, Table, Values

_SUFFIXES = (".csv", ".json", ".json.gz")


def read_table(path: Path) -> Table:
    """Reads a table; of a configuration that comes twice the first row is kept.

    Args:
        path: A ``.csv`` (docs/pages/reference/tables.md), or a ``.json`` or ``.json.gz`` in the T4
            format.

    Raises:
        InputError: The file cannot be read; says file, line, and what is wrong.
    """
    suffix = next((s for s in _SUFFIXES if path.name.endswith(s)), None)
    if suffix is None:
        raise InputError(f"{path} is no table: its name must end with {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    params, objectives, rows = read_csv(path) if suffix == ".csv" else read_t4(path)
    return _table(path.name.removesuffix(suffix), params, objectives, rows)


def _table(
    name: str, params: tuple[str, ...], objectives: tuple[Objective, ...], rows: Iterable[Row]
) -> Table:
    kept: dict[Values, Row] = {}
    count = 0
    for row in rows:
        count += 1
        kept.setdefault(row.params, row)
    return Table(name, params, objectives, tuple(kept.values()), count - len(kept))

"""Writes a recorded table as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from autotune.params import Scalar
from autotune.tables.columns import (
    KEYS,
    OUTCOME,
    interval_columns,
    metric_column,
    phase_column,
)
from autotune.tables.table import Row, Table


def write_table(table: Table, path: Path) -> None:
    """Writes the table; an older file of that name is replaced at once, or not at all."""
    rows = [_cells(table, row) for row in table.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    draft = path.with_name(path.name + ".part")
    with draft.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    draft.replace(path)


def _cells(table: Table, row: Row) -> dict[str, str]:
    """Column → cell, in the order of the columns."""
    cells = {name: _word(v) for name, v in zip(table.params, row.params, strict=True)}
    names = [objective.name for objective in table.objectives]
    for objective in table.objectives:
        value = row.metrics.get(objective.name)
        cells[objective.column] = "" if value is None else _word(value)
    cells[OUTCOME] = row.outcome.value
    cells |= {key: getattr(row, key) for key in KEYS if getattr(row, key)}
    cells |= {phase_column(phase): _word(s) for phase, s in row.phase_seconds.items()}
    cells |= {metric_column(n): _word(v) for n, v in row.metrics.items() if n not in names}
    for name, ends in row.intervals.items():
        cells |= zip(interval_columns(name), map(_word, ends), strict=True)
    return cells


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)

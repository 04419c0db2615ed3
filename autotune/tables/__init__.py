"""Recorded tables: what every recipe of a space measured, to replay a search on."""

from autotune.tables.read import read_table
from autotune.tables.table import Objective, Row, Table, Values
from autotune.tables.write import write_table

__all__ = ["Objective", "Row", "Table", "Values", "read_table", "write_table"]

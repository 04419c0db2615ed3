"""Several points of a front in one service: which to take for a request, measured beforehand."""

from autotune.dispatch.table import Cell, DispatchTable, Point, Route, read_table, write_table

__all__ = ["Cell", "DispatchTable", "Point", "Route", "read_table", "write_table"]

"""Recorded tables as CSV: docs/pages/reference/tables.md describes the format."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from autotune.errors import InputError
from autotune.outcome import Outcome
from autotune.params import Scalar
from autotune.tables.columns import Column, objectives_of, parse_columns
from autotune.tables.table import Objective, Row, Values

_Line = tuple[int, list[str]]
_MEASURED = (Outcome.OK, Outcome.INFEASIBLE)


def read_csv(path: Path) -> tuple[tuple[str, ...], tuple[Objective, ...], Iterator[Row]]:
    """Reads a table.

    Returns:
        Names of the params, the objectives, and the rows.

    Raises:
        InputError: Says file, line, and what is wrong.
    """
    lines = _lines(path)
    if not lines:
        raise InputError(f"{path}: the file is empty; its first line must name the columns")
    columns = parse_columns(lines[0][1], f"{path}, line {lines[0][0]}")
    body = lines[1:]
    if not body:
        raise InputError(f"{path}: there are no rows below the names of the columns")
    for number, cells in body:
        if len(cells) != len(columns):
            raise InputError(
                f"{path}, line {number}: {len(cells)} cells, but {len(columns)} columns"
            )
    places = [i for i, column in enumerate(columns) if column.kind == "param"]
    params = _params(path, [columns[i].name for i in places], places, body)
    rows = (
        _RowReader(f"{path}, line {number}", columns, cells).row(values)
        for (number, cells), values in zip(body, params, strict=True)
    )
    return tuple(columns[i].name for i in places), objectives_of(columns), rows


def _lines(path: Path) -> list[_Line]:
    """Line number and cells of every line that is not empty."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            return [(reader.line_num, cells) for cells in reader if cells]
    except (csv.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{path} cannot be read as CSV: {error}") from error


def _params(
    path: Path, names: Sequence[str], places: Sequence[int], body: Sequence[_Line]
) -> list[Values]:
    """The configurations: each column in the narrowest type that all its cells have."""
    typed: list[list[Scalar]] = []
    for name, place in zip(names, places, strict=True):
        cells = [line[place].strip() for _, line in body]
        for (number, _), cell in zip(body, cells, strict=True):
            if not cell:
                raise InputError(f"{path}, line {number}: the param {name} is empty")
        typed.append(_typed(cells))
    return list(zip(*typed, strict=True))


def _typed(cells: Sequence[str]) -> list[Scalar]:
    kinds: tuple[Callable[[str], Scalar], ...] = (_truth, int, _finite)
    for kind in kinds:
        try:
            return [kind(cell) for cell in cells]
        except ValueError:
            continue
    return list(cells)


def _truth(cell: str) -> bool:
    if cell.lower() not in ("true", "false"):
        raise ValueError(cell)
    return cell.lower() == "true"


def _finite(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(f"{cell!r} is not finite")
    return value


class _RowReader:
    """Reads the cells of one line."""

    def __init__(self, where: str, columns: Sequence[Column], cells: Sequence[str]) -> None:
        self._where = where
        self._cells = [(column, cell.strip()) for column, cell in zip(columns, cells, strict=True)]

    def row(self, params: Values) -> Row:
        """The row, checked."""
        outcome = self._outcome()
        metrics = self._numbers("objective") | self._numbers("metric")
        self._check(outcome)
        lows, highs = self._numbers("ci_low"), self._numbers("ci_high")
        keys = {c.name: cell for c, cell in self._cells if c.kind == "key"}
        return Row(
            params=params,
            outcome=outcome,
            metrics=metrics,
            intervals={name: self._interval(name, lows, highs) for name in lows | highs},
            phase_seconds=self._phases(),
            recipe_key=keys.get("recipe_key", ""),
            setup_key=keys.get("setup_key", ""),
            output_key=keys.get("output_key", ""),
        )

    def _outcome(self) -> Outcome:
        given = next((cell for column, cell in self._cells if column.kind == "outcome"), "ok")
        try:
            return Outcome(given)
        except ValueError:
            raise self._wrong(f"no outcome {given!r}; allowed: {', '.join(Outcome)}") from None

    def _numbers(self, kind: str) -> dict[str, float]:
        """Every cell of that kind that is not empty."""
        found: dict[str, float] = {}
        for column, cell in self._cells:
            if column.kind != kind or not cell:
                continue
            try:
                found[column.name] = _finite(cell)
            except ValueError:
                raise self._wrong(f"{column.name} is {cell!r}, not a finite number") from None
        return found

    def _check(self, outcome: Outcome) -> None:
        for column, cell in self._cells:
            if column.kind != "objective":
                continue
            if outcome is Outcome.OK and not cell:
                raise self._wrong(
                    f"the objective {column.name} is empty; a row that failed needs an outcome"
                )
            if outcome not in _MEASURED and cell:
                raise self._wrong(
                    f"the objective {column.name} is {cell}, and the outcome {outcome}: a row "
                    "that failed has empty objectives"
                )

    def _interval(
        self, name: str, lows: dict[str, float], highs: dict[str, float]
    ) -> tuple[float, float]:
        if name not in lows or name not in highs:
            raise self._wrong(f"the interval of {name} has one end only")
        if lows[name] > highs[name]:
            raise self._wrong(f"the interval of {name} is upside down")
        return lows[name], highs[name]

    def _phases(self) -> dict[str, float]:
        seconds = self._numbers("phase")
        for phase, value in seconds.items():
            if value < 0:
                raise self._wrong(f"phase:{phase}_seconds is negative: {value}")
        return seconds

    def _wrong(self, what: str) -> InputError:
        return InputError(f"{self._where}: {what}")

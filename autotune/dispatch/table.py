"""``dispatch.json``: what each point does at each size of a request, and which is taken there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from autotune.errors import InputError
from autotune.message import Message
from autotune.messages import Grade, Measurement, Metrics, RecipeDict, TrialResult
from autotune.metrics import Direction, metric
from autotune.outcome import Outcome
from autotune.report.front_file import write_atomically

DISPATCH_FILE = "dispatch.json"


class Point(Message):
    """A point of the front that may serve."""

    name: str
    """The pick, or ``#7``: the trial."""
    number: int
    """Of its trial in the study."""
    recipe: RecipeDict
    """Without ``batch``: the request brings its own size."""
    accuracy: Metrics
    """As the study measured it; the size of a request does not change it."""


class Cell(Message):
    """One size of request."""

    batch_size: int
    prompt_tokens: int
    measured: Metrics
    """Point → the objective, beside the baseline with a batch of one."""
    failed: dict[str, str]
    """Point → why it has no value here."""
    chosen: str
    """The point that serves here; empty where nothing was measured well enough to choose by."""
    ties: tuple[str, ...]
    """Points that cannot be told from it: their intervals overlap."""


@dataclass(frozen=True)
class Route:
    """Where a request goes."""

    cell: Cell
    point: Point
    outside: str
    """How far the request lies outside what was measured, in words; empty if it does not."""


class DispatchTable(Message):
    """The whole file."""

    schema_version: Literal[1] = 1
    autotune_version: str
    created_at: datetime
    study: str
    keys: dict[str, Any]
    """Of the study file: what is needed to prepare the points as the study did."""
    model_fingerprint: str
    environment: dict[str, str]
    objective: str
    unit: str
    constraints: tuple[str, ...]
    """Limits that every point keeps."""
    new_tokens: int
    """Of each answer while the cells were measured."""
    points: tuple[Point, ...]
    cells: tuple[Cell, ...]

    @property
    def served(self) -> tuple[Point, ...]:
        """The points that are chosen in any cell."""
        chosen = {cell.chosen for cell in self.cells}
        return tuple(point for point in self.points if point.name in chosen)

    @property
    def largest_batch(self) -> int:
        """Of the cells that have a point."""
        return max(cell.batch_size for cell in self._usable())

    def route(self, batch_size: int, prompt_tokens: int, new_tokens: int) -> Route:
        """Finds the measured cell that is nearest to a request, by ratios of its sizes.

        Args:
            batch_size: Sequences that run together.
            prompt_tokens: Of each.
            new_tokens: To be generated for each.

        Raises:
            InputError: No cell has a point.
        """

        def distance(cell: Cell) -> float:
            ratios = cell.batch_size / batch_size, cell.prompt_tokens / prompt_tokens
            return math.hypot(*map(math.log, ratios))

        cell = min(self._usable(), key=distance)
        point = next(point for point in self.points if point.name == cell.chosen)
        return Route(cell, point, self._outside(batch_size, prompt_tokens, new_tokens))

    def _usable(self) -> list[Cell]:
        usable = [cell for cell in self.cells if cell.chosen]
        if not usable:
            raise InputError(
                "no cell of this table has a point: nothing was measured well enough to choose "
                "by; measure it again with autotune dispatch on a quieter machine"
            )
        return usable

    def _outside(self, batch_size: int, prompt_tokens: int, new_tokens: int) -> str:
        cells = self._usable()
        given = {
            "a batch of": (batch_size, [cell.batch_size for cell in cells]),
            "prompt tokens:": (prompt_tokens, [cell.prompt_tokens for cell in cells]),
            "new tokens:": (new_tokens, [self.new_tokens]),
        }
        return "; ".join(
            f"{what} {value}, measured {_span(known)}"
            for what, (value, known) in given.items()
            if value > max(known) or (value < min(known) and what != "new tokens:")
        )


def _span(known: list[int]) -> str:
    low, high = min(known), max(known)
    return f"{low}" if low == high else f"{low} to {high}"


def make_cell(
    batch_size: int, prompt_tokens: int, objective: str, results: Mapping[str, TrialResult]
) -> Cell:
    """Chooses the point with the best value. By a value of grade C nothing is chosen, nor what
    ran otherwise than its recipe asks.

    Args:
        batch_size: Of all trials.
        prompt_tokens: Of all trials.
        objective: The metric to choose by.
        results: Point → its trial.
    """
    whys = {name: _why_not(result, objective) for name, result in results.items()}
    measured = {n: results[n].metrics[objective] for n, why in whys.items() if not why}
    good = {name: found for name, found in measured.items() if found.grade is not Grade.C}
    sign = -1 if metric(objective).direction is Direction.MAXIMIZE else 1
    ordered = sorted(good, key=lambda name: sign * (good[name].value or 0.0))
    chosen = ordered[0] if ordered else ""
    return Cell(
        batch_size=batch_size,
        prompt_tokens=prompt_tokens,
        measured=measured,
        failed={name: why for name, why in whys.items() if why},
        chosen=chosen,
        ties=tuple(n for n in ordered[1:] if _overlap(good[n], good[chosen])),
    )


def _why_not(result: TrialResult, objective: str) -> str:
    if result.outcome is not Outcome.OK:
        return f"{result.outcome}: {result.explanation}"
    found = result.metrics.get(objective)
    if found is None or found.value is None:
        return found.reason if found else "not measured"
    return "; ".join(result.fallbacks)


def _overlap(one: Measurement, other: Measurement) -> bool:
    a, b = one.interval, other.interval
    return a is not None and b is not None and a.low <= b.high and b.low <= a.high


def write_table(table: DispatchTable, path: Path) -> None:
    """Writes ``dispatch.json``, whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    write_atomically(path, table.model_dump_json(indent=2) + "\n")


def read_table(path: Path) -> DispatchTable:
    """Reads a dispatch table.

    Args:
        path: The file, the ``front.json`` beside it, or the folder of a study.

    Raises:
        InputError: There is none, or it is not such a file.
    """
    file = path / DISPATCH_FILE if path.is_dir() else path.with_name(DISPATCH_FILE)
    if not file.is_file():
        raise InputError(
            f"{file} does not exist: which point serves which request is measured, not guessed; "
            "run autotune dispatch STUDY"
        )
    try:
        return DispatchTable.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file} as a dispatch table: {error}") from error

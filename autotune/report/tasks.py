"""The rows of the tables of tasks: terminal and HTML share them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotune.front import FrontPoint, p_value
from autotune.messages import TaskScore
from autotune.report import format
from autotune.report.summary import StudySummary, words

HEADINGS = ("trial", "recipe", "task", "items", "right", "gained", "lost", "p (McNemar)")


@dataclass(frozen=True)
class TaskRow:
    """One task file of one trial, in words."""

    number: int
    recipe: str
    cells: tuple[str, ...]
    """Under the headings from ``task`` on."""


def task_rows(summary: StudySummary) -> list[TaskRow]:
    """One row for each task and trial, the baseline first.

    Args:
        summary: The study; no rows where it has no tasks.
    """
    judged = sorted((p for p in summary.points if p.tasks), key=lambda p: not p.is_baseline)
    return [row for point in judged for row in _rows(point)]


def _rows(point: FrontPoint) -> Iterator[TaskRow]:
    for score in point.tasks:
        yield TaskRow(point.number, words(point), _cells(score))


def _cells(score: TaskScore) -> tuple[str, ...]:
    right = f"{score.correct} ({100 * score.correct / score.n:.1f} %)"
    p = p_value([score])
    return (
        score.name,
        f"{score.n:,}",
        right,
        _count(score.gained),
        _count(score.lost),
        format.NOT_MEASURED if p is None else format.digits(p, 2),
    )


def _count(items: int | None) -> str:
    return format.NOT_MEASURED if items is None else str(items)

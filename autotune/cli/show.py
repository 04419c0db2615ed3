"""What several commands print of a study."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.report.summary import StudySummary


_FILE_WIDTH = 140
"""Columns where the output is no terminal and COLUMNS is not set: a log should not be folded."""


def make_console(*, stderr: bool = False) -> Console:
    """The console that a command prints on."""
    from rich.console import Console

    found = Console(stderr=stderr)
    if found.is_terminal or "COLUMNS" in os.environ:
        return found
    return Console(stderr=stderr, width=_FILE_WIDTH)


def show_summary(console: Console, summary: StudySummary) -> None:
    """Prints the failures, the front, the tasks and, last, the picks: the answer."""
    from autotune.report import console as tables

    if summary.failures:
        console.print(tables.failures_table(summary))
    console.print(tables.front_table(summary))
    if any(point.tasks for point in summary.points):
        console.print(tables.tasks_table(summary))
    if summary.picks:
        console.print(tables.picks_table(summary))

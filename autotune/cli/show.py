"""What several commands print of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.report.summary import StudySummary


def show_summary(console: Console, summary: StudySummary) -> None:
    """Prints the failures, the front and, last, the picks: the answer."""
    from autotune.report import console as tables

    if summary.failures:
        console.print(tables.failures_table(summary))
    console.print(tables.front_table(summary))
    console.print(tables.picks_table(summary))

"""One point of a study, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from autotune.front import FrontPoint, is_confirmed
from autotune.metrics import metric
from autotune.report import format
from autotune.report.console import plain_table
from autotune.report.summary import StudySummary, words


def chosen_table(summary: StudySummary, point: FrontPoint, asked_for: Sequence[str] = ()) -> Table:
    """A row for each metric that a table shows or a pick was chosen by.

    Args:
        summary: The study.
        point: One of its points.
        asked_for: Metrics that are shown too.
    """
    table = plain_table("")
    table.add_column("metric")
    table.add_column("value", justify="right")
    table.add_column("to the baseline", justify="right")
    for name in dict.fromkeys([*(kind.name for kind in summary.columns), *asked_for]):
        found = point.metrics.get(name)
        shown = f"{metric(name).label} {format.arrow(metric(name))}"
        table.add_row(shown, format.measured(name, found), summary.ratio(point, name))
    return table


def chosen_lines(summary: StudySummary, point: FrontPoint) -> Iterator[str]:
    """What it is, and what to know before it is taken.

    Args:
        summary: The study.
        point: One of its points.
    """
    yield f"#{point.number}: {words(point)}"
    yield f"against the baseline: {summary.against_baseline(point)}"
    if names := summary.pick_names.get(point.number):
        yield f"picked as {', '.join(name.replace('_', ' ') for name in names)}"
    if point.number not in summary.front_numbers:
        yield "not on the front"
    if not point.feasible:
        yield summary.explanations.get(point.number) or "outside a constraint"
    yield from (f"fallback: {text}" for text in point.fallbacks)
    yield (
        "confirmed in fresh processes"
        if is_confirmed(point)
        else "not confirmed in fresh processes: autotune reproduce measures it again"
    )

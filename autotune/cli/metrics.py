"""``autotune metrics``: what is measured, in which unit, by which formula."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autotune.cli import options

if TYPE_CHECKING:
    from autotune.metrics import Metric


def metrics(
    name: Annotated[
        str | None, typer.Argument(help="Name of one metric; all if left out.", show_default=False)
    ] = None,
    json: options.AsJson = False,
) -> None:
    """List the metrics with unit, direction and formula, or show everything about one.

    Example: autotune metrics tpot_seconds
    """
    from autotune.metrics import METRICS, metric

    if json:
        import json as codec

        every = [_facts(m) for m in METRICS.values()]
        typer.echo(codec.dumps(_facts(metric(name)) if name else every, indent=2))
    elif name is None:
        _print_list(METRICS.values())
    else:
        _print_one(metric(name))


def _facts(metric: Metric) -> dict[str, Any]:
    """Everything that the catalogue says of a metric."""
    import dataclasses

    return dataclasses.asdict(metric)


def _print_list(metrics: Iterable[Metric]) -> None:
    from rich.markup import escape

    from autotune.cli.show import make_console
    from autotune.report.console import plain_table

    table = plain_table("", "metric", "unit", "better", "formula")
    for metric in metrics:
        table.add_row(metric.name, metric.unit, _better(metric), escape(metric.formula))
    make_console().print(table)


def _print_one(metric: Metric) -> None:
    from rich.markup import escape

    from autotune.cli.show import make_console
    from autotune.metrics.document import resolution
    from autotune.report.console import plain_table

    rows = {
        "unit": metric.unit,
        "better": _better(metric),
        "family": metric.family.value,
        "formula": metric.formula,
        "meaning": metric.meaning or metric.label,
        "tasks": ", ".join(metric.tasks) or "all",
        "resolution": resolution(metric) or "none",
        **{f"in {tool}": there for tool, there in metric.elsewhere.items()},
    }
    table = plain_table(metric.name, "", "")
    for key, value in rows.items():
        table.add_row(key, escape(value))
    make_console().print(table)


def _better(metric: Metric) -> str:
    return "higher" if metric.direction == "maximize" else "lower"

"""The data behind the report's charts: plain JSON, drawn by the page itself."""

from __future__ import annotations

import html
from typing import Any

from autotune.front import FrontPoint
from autotune.metrics import Direction, Metric
from autotune.report import format
from autotune.report.summary import StudySummary, words

GROUPS = {
    "infeasible": "outside a constraint",
    "feasible": "measured",
    "front": "front",
    "pick": "pick",
    "baseline": "baseline",
}
"""What a point can be, the most important last: that one is drawn on top."""

_LOG_FROM_RATIO = 30.0
"""An axis whose values span more than this is logarithmic."""


def chart_data(summary: StudySummary) -> dict[str, Any]:
    """All that the page needs to draw.

    Args:
        summary: The study.

    Returns:
        ``axes`` (one per column), ``points`` (group, hover text, values per axis) and
        ``progress`` (trial numbers and hypervolumes).
    """
    axes = [axis for kind in summary.columns if (axis := _axis(summary, kind))]
    return {
        "axes": axes,
        "groups": list(GROUPS.items()),
        "points": [_point(summary, point, axes) for point in summary.points],
        "progress": {
            "x": [point.number for point in summary.points],
            "y": summary.hypervolumes,
        },
    }


def _axis(summary: StudySummary, kind: Metric) -> dict[str, Any] | None:
    """One axis in a unit that reads well; None where nothing was measured."""
    values = [v for point in summary.points if (v := point.value(kind.name)) is not None]
    if not values:
        return None
    factor, unit = format.scale(kind.unit, sorted(values)[len(values) // 2])
    better = "higher" if kind.direction is Direction.MAXIMIZE else "lower"
    return {
        "name": kind.name,
        "label": f"{kind.label} ({unit})" if unit else kind.label,
        "better": better,
        "factor": factor,
        "log": min(values) > 0 and max(values) / min(values) > _LOG_FROM_RATIO,
    }


def group(summary: StudySummary, point: FrontPoint) -> str:
    """What a point is, in one word; the most important thing where it is several."""
    if point.is_baseline:
        return "baseline"
    if point.number in summary.pick_names:
        return "pick"
    if point.number in summary.front_numbers:
        return "front"
    return "feasible" if point.feasible else "infeasible"


def _point(summary: StudySummary, point: FrontPoint, axes: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "number": point.number,
        "group": group(summary, point),
        "picks": [pick.replace("_", " ") for pick in summary.pick_names.get(point.number, [])],
        "hover": _hover(summary, point),
        "values": {axis["name"]: _place(point, axis) for axis in axes},
    }


def _place(point: FrontPoint, axis: dict[str, Any]) -> dict[str, float] | None:
    """Where a point lies on an axis, and how far its 95 % interval reaches."""
    found = point.metrics.get(axis["name"])
    if found is None or found.value is None:
        return None
    low = found.value if found.low is None else found.low
    high = found.value if found.high is None else found.high
    factor = axis["factor"]
    return {
        "value": found.value / factor,
        "plus": max(0.0, high - found.value) / factor,
        "minus": max(0.0, found.value - low) / factor,
    }


def _hover(summary: StudySummary, point: FrontPoint) -> str:
    """Plotly reads some HTML in hover texts: everything that is not ours is escaped."""
    title = f"trial {point.number}: {words(point)}"
    lines = [f"<b>{html.escape(title)}</b>"]
    lines += [
        f"{kind.label}: {html.escape(format.measured(kind.name, point.metrics.get(kind.name)))}"
        for kind in summary.columns
    ]
    lines += [html.escape(line) for line in _explanation(summary, point)]
    return "<br>".join(lines)


def _explanation(summary: StudySummary, point: FrontPoint) -> list[str]:
    if point.feasible:
        return []
    return [summary.explanations.get(point.number) or "outside a constraint"]

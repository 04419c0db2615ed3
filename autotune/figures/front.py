"""The front by a pair of metrics: every measured trial with its intervals, and the picks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from itertools import combinations
from typing import Any

from autotune.errors import InputError, unknown_name
from autotune.figures.chart import Chart, chart_data
from autotune.figures.style import MARKERS, Figure, axis, layout
from autotune.report.summary import StudySummary, words

_MOST_FOR_ALL_PAIRS = 4
"""Objectives; of more, each is drawn against the first only."""


def pairs(objectives: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs of objectives that are worth a figure.

    Args:
        objectives: Names of metrics.
    """
    if len(objectives) <= _MOST_FOR_ALL_PAIRS:
        return list(combinations(objectives, 2))
    return [(objectives[0], other) for other in objectives[1:]]


def front_figure(summary: StudySummary, x: str, y: str, chart: Chart | None = None) -> Figure:
    """Draws the front by two metrics.

    Args:
        summary: The study.
        x: Metric of the horizontal axis; one of the study's columns.
        y: Of the vertical one.
        chart: ``chart_data`` of the summary, where several figures share it.

    Raises:
        InputError: A metric is no column of the study, or nothing was measured of it.
    """
    chart = chart or chart_data(summary)
    axes = {one["name"]: one for one in chart["axes"]}
    for name in (x, y):
        if name not in axes:
            raise InputError(unknown_name("measured column", name, axes))
    traces = [_trace(summary, chart, group, x, y) for group in chart["groups"]]
    return {
        "data": [trace for trace in traces if trace["x"]],
        "layout": layout(
            f"{axes[y]['label']} over {axes[x]['label']}",
            xaxis=_axis(axes[x]),
            yaxis=_axis(axes[y]),
        ),
    }


def _axis(given: Chart) -> dict[str, Any]:
    title = f"{given['label']}, {given['better']} is better"
    return axis(title, type="log" if given["log"] else "linear")


def _trace(
    summary: StudySummary, chart: Chart, group: tuple[str, str], x: str, y: str
) -> dict[str, Any]:
    kind, label = group
    points = [
        p for p in chart["points"] if p["group"] == kind and p["values"][x] and p["values"][y]
    ]
    look = MARKERS[kind]
    return {
        "type": "scatter",
        "name": label,
        "mode": "markers+text" if kind == "pick" else "markers",
        "x": [p["values"][x]["value"] for p in points],
        "y": [p["values"][y]["value"] for p in points],
        "error_x": _bars(points, x, look["color"]),
        "error_y": _bars(points, y, look["color"]),
        "text": [", ".join(p["picks"]) for p in points],
        "textposition": _sides(points, x) if kind == "pick" else "top center",
        "customdata": [_title(summary, p["number"]) for p in points],
        "hovertemplate": "<b>%{customdata}</b><br>%{x:.4g}, %{y:.4g}<extra></extra>",
        "cliponaxis": False,
        "marker": {**look, "line": {"color": look["color"], "width": 1.6}},
    }


def _sides(points: Sequence[Chart], name: str) -> list[str]:
    """Names of neighbours, from left to right, are in turn above and below."""
    values = [p["values"][name]["value"] for p in points]
    order = sorted(range(len(values)), key=values.__getitem__)
    return ["bottom center" if order.index(i) % 2 else "top center" for i in range(len(values))]


def _bars(points: Sequence[Chart], name: str, color: str) -> dict[str, Any]:
    """The 95 % intervals."""
    return {
        "type": "data",
        "array": [p["values"][name]["plus"] for p in points],
        "arrayminus": [p["values"][name]["minus"] for p in points],
        "symmetric": False,
        "color": color,
        "thickness": 1,
        "width": 2,
    }


def _title(summary: StudySummary, number: int) -> str:
    """Plotly reads some HTML in hover texts: what is not ours is escaped."""
    return html.escape(f"trial {number}: {words(summary.by_number[number])}")

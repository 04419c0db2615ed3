"""Parallel coordinates: one line for each measured trial, through its plugins and its values."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from autotune.figures.style import FRONT, INK, QUIET, Figure, layout
from autotune.front import FrontPoint
from autotune.numbers import digits
from autotune.recipe import describe
from autotune.report.page_data import axes_of
from autotune.report.summary import StudySummary

_MOST_VALUES = 12
"""Of a plugin; of more, it is only shown whether it was on."""
_LOG_TICKS = 5


def parallel_figure(summary: StudySummary) -> Figure:
    """Draws a line for each measured trial; those of the front are coloured.

    Args:
        summary: The study.
    """
    shown = [a for a in axes_of(summary) if a["name"] in summary.study.objectives]
    names = [a["name"] for a in shown]
    measured = [p for p in summary.points if all(p.value(n) is not None for n in names)]
    lines = sorted(measured, key=lambda p: p.number in summary.front_numbers)  # drawn last: on top
    trace = {
        "type": "parcoords",
        "dimensions": [*_plugins(lines), *(_objective(lines, a) for a in shown)],
        "line": {
            "color": [int(p.number in summary.front_numbers) for p in lines],
            "colorscale": [[0, QUIET], [1, FRONT]],
            "cmin": 0,
            "cmax": 1,
        },
        "labelfont": {"color": INK, "size": 11, "shadow": "none"},
        "tickfont": {"color": INK, "size": 10, "shadow": "none"},
        "rangefont": {"color": "rgba(0,0,0,0)"},
        "labelangle": -20,
    }
    title = "Plugins and objectives of each trial; the front is coloured"
    margin = {"l": 90, "r": 60, "t": 120, "b": 30}
    return {"data": [trace] if lines else [], "layout": layout(title, margin=margin)}


def _plugins(points: Sequence[FrontPoint]) -> list[dict[str, Any]]:
    """One axis for each plugin that was on in some trials and not in others, or differs."""
    names = sorted({name for point in points for name in point.recipe})
    axes = (_plugin(points, name) for name in names)
    return [one for one in axes if len(one["tickvals"]) > 1]


def _plugin(points: Sequence[FrontPoint], name: str) -> dict[str, Any]:
    values = [_value(point, name) for point in points]
    if len(set(values)) > _MOST_VALUES:
        values = [value and "on" for value in values]
    ticks = sorted(set(values))
    place = {value: i for i, value in enumerate(ticks)}
    return {
        "label": name,
        "values": [place[value] for value in values],
        "tickvals": list(place.values()),
        "ticktext": [html.escape(value) or "off" for value in ticks],
    }


def _value(point: FrontPoint, name: str) -> str:
    """A plugin's values in words; empty where it is off."""
    if name not in point.recipe:
        return ""
    return describe({name: point.recipe[name]}).removeprefix(f"{name} ")


def _objective(points: Sequence[FrontPoint], given: dict[str, Any]) -> dict[str, Any]:
    """plotly has no logarithmic axis here: the logarithms are drawn, the ticks say the values."""
    values = [
        value / given["factor"] for p in points if (value := p.value(given["name"])) is not None
    ]
    if not given["log"]:
        return {"label": given["label"], "values": values}
    logs = [math.log10(value) for value in values]
    low, high = min(logs), max(logs)
    ticks = [low + i * (high - low) / (_LOG_TICKS - 1) for i in range(_LOG_TICKS)]
    return {
        "label": given["label"],
        "values": logs,
        "tickvals": ticks,
        "ticktext": [digits(10**tick, 2) for tick in ticks],
    }

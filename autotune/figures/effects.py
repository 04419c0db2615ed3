"""What each plugin gave and cost: its effect on every metric, with the interval."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

from autotune.explain import Explanation
from autotune.explain.effects import is_ratio
from autotune.explain.records import Estimate
from autotune.explain.words import effect_words
from autotune.figures.style import FRONT, INK, MARKERS, Figure, axis, layout
from autotune.metrics import Direction, metric
from autotune.recipe import describe

_GAP = 0.04
_Row = tuple[str, Estimate, str]
"""Plugin, effect, and what the reader is told of it."""


def effects_figure(found: Explanation) -> Figure:
    """Draws the effects of the plugins, one panel for each metric.

    Filled marks are averages over all else that was on, with 95 % intervals; open ones are trials
    of the plugin alone, with the interval that they were measured with.

    Args:
        found: What a study has taught.
    """
    plugins = sorted({e.choice.plugin for e in found.effects}, reverse=True)
    data: list[dict[str, Any]] = []
    panels: dict[str, Any] = {}
    for i, name in enumerate(found.metrics if plugins else ()):
        named = {trace["name"] for trace in data}
        traces = _panel(found, name, i)
        data += [{**trace, "showlegend": trace["name"] not in named} for trace in traces]
        panels |= _axes(name, i, len(found.metrics))
    panels["yaxis"] = axis("", categoryorder="array", categoryarray=plugins, type="category")
    drawn = layout("What each plugin gave and cost against the baseline", **panels)
    if not data:
        drawn["annotations"] = [_nothing()]
    return {"data": data, "layout": drawn}


def _panel(found: Explanation, name: str, index: int) -> list[dict[str, Any]]:
    fitted = [
        (e.choice.plugin, e.estimate, f"{e.trials} trials with it")
        for e in found.effects
        if e.metric == name and not e.choice.param and e.estimate
    ]
    alone = [
        (
            plugin,
            trial.against_baseline[name],
            f"#{trial.number}, {html.escape(describe(trial.recipe))}",
        )
        for trial in found.alone
        for plugin in trial.recipe
        if name in trial.against_baseline
    ]
    filled = {"symbol": "circle", "size": 9, "color": FRONT}
    open_ = {"symbol": "circle-open", "size": 8, "color": MARKERS["infeasible"]["color"]}
    traces = [
        _trace(fitted, "average over all else", filled, name, index),
        _trace(alone, "alone", open_, name, index),
    ]
    return [trace for trace in traces if trace["x"]]


def _trace(
    rows: Sequence[_Row], label: str, marker: dict[str, Any], name: str, index: int
) -> dict[str, Any]:
    values = [_shown(name, estimate.value) for _, estimate, _ in rows]
    ends = [
        (
            _shown(name, e.value if e.low is None else e.low),
            _shown(name, e.value if e.high is None else e.high),
        )
        for _, e, _ in rows
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": label,
        "legendgroup": label,
        "x": values,
        "y": [plugin for plugin, _, _ in rows],
        "xaxis": f"x{index + 1 if index else ''}",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, high - v) for v, (_, high) in zip(values, ends, strict=True)],
            "arrayminus": [max(0.0, v - low) for v, (low, _) in zip(values, ends, strict=True)],
            "thickness": 1.5,
            "color": marker["color"],
        },
        "customdata": [f"{effect_words(name, e)}, {told}" for _, e, told in rows],
        "hovertemplate": "<b>%{y}</b><br>%{customdata}<extra></extra>",
        "marker": marker,
    }


def _shown(name: str, value: float) -> float:
    """A ratio as a change in per cent."""
    return 100 * (value - 1) if is_ratio(name) else value


def _axes(name: str, index: int, count: int) -> dict[str, Any]:
    kind = metric(name)
    unit = "%" if is_ratio(name) else kind.unit
    better = "more" if kind.direction is Direction.MAXIMIZE else "less"
    width = (1 - _GAP * (count - 1)) / count
    begin = index * (width + _GAP)
    key = f"xaxis{index + 1 if index else ''}"
    title = f"{kind.label} ({unit})<br>{better} is better"
    shown = axis(title, domain=[begin, begin + width], zeroline=True, zerolinecolor=INK)
    return {key: shown}


def _nothing() -> dict[str, Any]:
    text = "too few trials to tell what a plugin does"
    return {"text": text, "showarrow": False, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5}

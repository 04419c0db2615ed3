"""The measured trials as points on the axes of the report."""

from __future__ import annotations

from typing import Any

from autotune.report.page_data import GROUPS, axes_of, group
from autotune.report.summary import StudySummary

Chart = dict[str, Any]


def chart_data(summary: StudySummary) -> Chart:
    """What several figures share.

    Args:
        summary: The study.

    Returns:
        ``axes`` (one for each metric that was measured), ``groups`` and ``points``: number, group,
        picks, and for each axis the value with how far its interval reaches, or None.
    """
    axes = axes_of(summary)
    places = {trial.number: i for i, trial in enumerate(summary.trials)}
    points = [
        {
            "number": point.number,
            "group": group(summary, point),
            "picks": [pick.replace("_", " ") for pick in summary.pick_names.get(point.number, [])],
            "values": {axis["name"]: _place(axis, places[point.number]) for axis in axes},
        }
        for point in summary.points
    ]
    return {"axes": axes, "groups": list(GROUPS.items()), "points": points}


def _place(axis: dict[str, Any], index: int) -> dict[str, float] | None:
    value = axis["value"][index]
    if value is None:
        return None
    low, high = (axis[end][index] if end in axis else None for end in ("low", "high"))
    return {
        "value": value,
        "plus": 0.0 if high is None else max(0.0, high - value),
        "minus": 0.0 if low is None else max(0.0, value - low),
    }

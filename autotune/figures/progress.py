"""How the front grew."""

from __future__ import annotations

from autotune.figures.style import FRONT, Figure, axis, layout
from autotune.report.summary import StudySummary


def progress_figure(summary: StudySummary) -> Figure:
    """Draws the hypervolume after each measured trial.

    Args:
        summary: The study.
    """
    trace = {
        "type": "scatter",
        "mode": "lines",
        "x": [point.number for point in summary.points],
        "y": list(summary.hypervolumes),
        "line": {"shape": "hv", "color": FRONT, "width": 2.5},
        "hovertemplate": "trial %{x}: %{y:.3f}<extra></extra>",
    }
    return {
        "data": [trace],
        "layout": layout(
            "How the front grew",
            showlegend=False,
            xaxis=axis("trial"),
            yaxis=axis("hypervolume", rangemode="tozero"),
        ),
    }

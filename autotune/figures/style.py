"""How every figure looks: on light paper and on dark, since who shows it chooses the paper."""

from __future__ import annotations

from typing import Any

Figure = dict[str, Any]
"""``data`` and ``layout``, as plotly reads them."""

INK = "#808080"
"""Has enough contrast on white and on a dark page."""
FRONT = "#1f8ac7"
QUIET = "#8a949e"

# Okabe and Ito's hues, between light and dark: told apart with any colour vision, and by shape.
MARKERS: dict[str, dict[str, Any]] = {
    "infeasible": {"symbol": "x-thin", "size": 8, "color": "#d07a00"},
    "feasible": {"symbol": "circle-open", "size": 7, "color": QUIET},
    "front": {"symbol": "circle", "size": 10, "color": FRONT},
    "pick": {"symbol": "star", "size": 16, "color": "#12a37a"},
    "baseline": {"symbol": "diamond", "size": 12, "color": "#c65f9d"},
}
_CLEAR = "rgba(0,0,0,0)"
_LINE = "rgba(128,128,128,0.3)"


def layout(title: str, **more: Any) -> dict[str, Any]:
    """A layout on clear paper.

    Args:
        title: Of the figure.
        **more: Further keys.
    """
    return {
        "title": {"text": title, "font": {"size": 15}, "x": 0.02, "xanchor": "left"},
        "paper_bgcolor": _CLEAR,
        "plot_bgcolor": _CLEAR,
        "font": {"color": INK, "size": 12},
        "margin": {"l": 70, "r": 25, "t": 70, "b": 60},
        "hovermode": "closest",
        "modebar": {"bgcolor": _CLEAR, "color": INK},
        "legend": {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
        **more,
    }


def axis(title: str, **more: Any) -> dict[str, Any]:
    """An axis with fine lines.

    Args:
        title: Of the axis.
        **more: Further keys.
    """
    return {
        "title": {"text": title},
        "gridcolor": _LINE,
        "linecolor": _LINE,
        "zeroline": False,
        "automargin": True,
        **more,
    }

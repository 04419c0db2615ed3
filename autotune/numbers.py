"""Numbers in words: significant digits, counts, spans of time."""

from __future__ import annotations

import math


def digits(value: float, count: int = 3) -> str:
    """A number with so many significant digits, never in powers of ten above 0.0001."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        return f"{value:.{count - 1}e}"
    rounded = float(f"{value:.{count}g}")
    places = max(0, count - 1 - math.floor(math.log10(abs(rounded))))
    return f"{rounded:,.{places}f}"


def counted(count: int, thing: str) -> str:
    """``1 recipe``, ``2,000 recipes``."""
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """A span of time: ``45 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"

"""Which phase of a trial takes the most memory, in words."""

from __future__ import annotations

from collections.abc import Callable

from autotune.messages import Metrics
from autotune.metrics import PHASES, device_peak, host_peak
from autotune.report.format import quantity

_TIE = 1.02
"""Phases whose peaks are within this ratio of the highest set it together."""


def peak_phase(metrics: Metrics) -> str:
    """What sets the peak: ``host memory peak set by load: load 1.21 GiB · transform …``.

    Args:
        metrics: Of one trial; the GPU's peaks are shown where there are any.

    Returns:
        One line, empty where no phase was measured.
    """
    for where, name_of in (("device", device_peak), ("host", host_peak)):
        found = _peaks(metrics, name_of)
        if found:
            shown = " · ".join(f"{p} {quantity(name_of(p), v)}" for p, v in found.items())
            return f"{where} memory peak {_set_by(found)}: {shown}"
    return ""


def _peaks(metrics: Metrics, name_of: Callable[[str], str]) -> dict[str, float]:
    found = {phase: metrics.get(name_of(phase)) for phase in PHASES}
    return {p: m.value for p, m in found.items() if m is not None and m.value is not None}


def _set_by(peaks: dict[str, float]) -> str:
    """``set by load``; ``about the same in each phase`` where none stands out."""
    highest = max(peaks.values())
    near = [phase for phase, value in peaks.items() if value * _TIE >= highest]
    if len(near) == len(peaks):
        return "about the same in each phase"
    return f"set by {' and '.join(', '.join(near).rsplit(', ', 1))}"

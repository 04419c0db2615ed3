"""What values of a metric are compared by: turned so that less is better, rounded down to what the
metric can resolve, with the interval beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from autotune.messages import CONFIRMED, Measurement, Metrics
from autotune.metrics import Direction, metric

FLOORS = {"kld_mean_nats": "kld_self_floor_nats"}
"""Loss → the metric that says how much of it is no change of the model."""

_WORST = math.inf


@dataclass(frozen=True)
class Cost:
    """One metric of one trial; not measured is the worst."""

    value: float = _WORST
    """Rounded down to the metric's resolution, in whatever unit: losses too small to be resolved
    are all zero."""
    low: float = _WORST
    high: float = _WORST
    steps: float = _WORST
    """Not rounded; where the metric has a resolution, a difference up to 1 is a tie."""
    tie: float = 0.0
    """The largest difference of ``steps`` that is a tie: 1, or 0 without a resolution."""

    def beats(self, other: Cost) -> bool:
        """Whether it is better beyond noise and the metric's resolution."""
        return self.high < other.low and self.steps + self.tie < other.steps


def cost(name: str, metrics: Metrics) -> Cost:
    """What one metric of a trial costs.

    Args:
        name: The metric.
        metrics: Of the trial, with the baseline's floor where the metric has one.
    """
    measured = metrics.get(name)
    if measured is None or measured.value is None or not math.isfinite(measured.value):
        return Cost()
    kind = metric(name)
    floor = floor_of(name, metrics)
    low, high = (max(end, floor) for end in ends(measured, measured.value))
    steps = kind.steps(max(measured.value, floor))
    if kind.direction is Direction.MAXIMIZE:
        steps, low, high = -steps, -high, -low
    if kind.ties and math.isfinite(steps):
        return Cost(float(math.floor(steps)), low, high, steps, tie=1.0)
    return Cost(steps, low, high, steps)


def floor_of(name: str, metrics: Metrics) -> float:
    """What a value is raised to before it is compared; minus infinity for metrics without a
    floor."""
    found = metrics.get(FLOORS.get(name, ""))
    high = None if found is None else found.high
    return -math.inf if high is None else high


def ends(measured: Measurement, value: float) -> tuple[float, float]:
    """The interval in which values are compared. The others' are the baseline's value times the
    interval of a paired ratio; the baseline's own ratio is 1 by definition, and how well its value
    is known concerns all of them alike."""
    if measured.ratio is not None and measured.stat in ("median", CONFIRMED):
        return value, value
    low, high = measured.low, measured.high
    return (value if low is None else low, value if high is None else high)

"""The named picks of a front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from autotune.front.dominance import FrontPoint
from autotune.front.hypervolume import HypervolumeScale
from autotune.metrics import Direction, Family, metric

PICKS = {
    "fastest": "best value of the first speed objective",
    "smallest": "least memory (the first memory objective, else the weights)",
    "smallest_weights": "fewest bytes of weights, where that is an objective of its own",
    "greenest": "least energy",
    "most_accurate": "least loss; among ties the fastest",
    "balanced": "the knee: by itself it covers the most hypervolume",
}
"""Every pick and what it means, in the order in which they are shown."""

_Rank = Callable[[FrontPoint], tuple[float, ...]]


def picks(
    points: Sequence[FrontPoint], objectives: Sequence[str], scale: HypervolumeScale
) -> dict[str, FrontPoint]:
    """Names the points of a front that people ask for.

    A pick whose metric nobody measured is left out, and so is ``balanced`` with fewer than two
    objectives. Among ties within the metric's resolution the fastest is taken. The baseline is a
    pick only where it alone is best; it is balanced only where there is no other point.
    ``balanced`` is the point with the largest product of gains over the scale's reference: a
    gain in one objective pays for the same relative loss in another.

    Args:
        points: The front; infeasible points are never picked.
        objectives: Names of metrics.
        scale: The study's scale, for ``balanced``.
    """
    feasible = [point for point in points if point.feasible]
    speed = _first(Family.SPEED, objectives)
    memory = _first(Family.MEMORY, objectives) or "weights_bytes"
    own_weights = memory != "weights_bytes" and "weights_bytes" in objectives
    judged_by = {
        "fastest": speed,
        "smallest": memory,
        "smallest_weights": "weights_bytes" if own_weights else None,
        "greenest": _first(Family.ENERGY, objectives),
        "most_accurate": _first(Family.ACCURACY, objectives),
    }
    found = {
        pick: _best(feasible, name, _rank(speed)) if name else None
        for pick, name in judged_by.items()
    }
    found["balanced"] = _balanced(feasible, scale)
    return {pick: point for pick, point in found.items() if point is not None}


def _first(family: Family, objectives: Sequence[str]) -> str | None:
    return next((name for name in objectives if metric(name).family is family), None)


def _best(points: Sequence[FrontPoint], name: str, rank: _Rank) -> FrontPoint | None:
    """The best value; the order ``rank`` decides among those within the resolution of it."""
    kind = metric(name)
    values = [(point, value) for point in points if (value := point.value(name)) is not None]
    if not values:
        return None
    pick_best = max if kind.direction is Direction.MAXIMIZE else min
    best = pick_best(value for _, value in values)
    reach = max(kind.resolution, kind.resolution_ratio * abs(best))
    return min((point for point, value in values if abs(value - best) <= reach), key=rank)


def _rank(speed: str | None) -> _Rank:
    """Fastest first, then anything but the baseline, then the earliest."""

    def rank(point: FrontPoint) -> tuple[float, ...]:
        value = point.value(speed) if speed else None
        faster = speed is not None and metric(speed).direction is Direction.MAXIMIZE
        cost = float("inf") if value is None else -value if faster else value
        return (cost, point.is_baseline, point.number)

    return rank if speed else lambda point: (point.is_baseline, point.number)


def _balanced(points: Sequence[FrontPoint], scale: HypervolumeScale) -> FrontPoint | None:
    if len(scale.axes) < 2 or not points:
        return None
    others = [point for point in points if not point.is_baseline] or points
    return min(others, key=lambda point: (-scale.share(point.metrics), point.number))

"""The named picks of a front."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum

from autotune.costs import floor_of
from autotune.front.confirmed import is_confirmed
from autotune.front.dominance import FrontPoint, differ
from autotune.front.hypervolume import HypervolumeScale
from autotune.messages import Grade
from autotune.metrics import Direction, Family, metric

PICKS = {
    "fastest": "best value of the first speed objective",
    "smallest": "least memory (the first memory objective, else the weights)",
    "smallest_weights": "fewest bytes of weights, where that is an objective of its own",
    "greenest": "least energy",
    "most_accurate": "least loss; among ties the fastest",
    "balanced": "the knee: nearest to the best value of every objective at once",
}
"""Every pick and what it means, in the order in which they are shown."""

_Rank = Callable[[FrontPoint], tuple[float, ...]]


class Candidates(StrEnum):
    """Which feasible points may be picked."""

    CONFIRMED = "confirmed"
    """Those confirmed in fresh processes, once there are any: the result of a study."""
    MEASURED = "measured"
    """All: what a study shows whose confirmation is not over."""
    WORTH_CONFIRMING = "worth confirming"
    """All, whatever the grade of a number that is not confirmed: it would be measured again."""


def picks(
    points: Sequence[FrontPoint],
    objectives: Sequence[str],
    scale: HypervolumeScale,
    *,
    baseline: FrontPoint | None = None,
    among: Candidates = Candidates.CONFIRMED,
) -> dict[str, FrontPoint]:
    """Names the points of a front that people ask for.

    By a value of grade C nothing is picked, nor is a trial that ran otherwise than asked. A pick
    whose metric nobody measured is left out, and so is ``balanced`` with fewer than two
    objectives. Among ties within the metric's resolution the fastest is taken, but none that ties
    with the baseline too where the best does not; and a part of its recipe, if that was tried and
    cannot be told from it in any objective. The baseline is a pick only where it alone is best;
    it is balanced only where there is no other point.
    ``balanced`` is the point of the front nearest (Euclidean distance) to the point that would
    be best in every objective, each objective running from 0 to 1 over the front, on the
    logarithmic or linear axis of ``scale``.

    Args:
        points: The front; infeasible points are never picked.
        objectives: Names of metrics.
        scale: The study's scale, for ``balanced``.
        baseline: The study's, on the front or not.
        among: Which points may be picked.
    """
    feasible = candidates(points, among)
    best = {
        pick: best_value(feasible, name, objectives, baseline)
        for pick, name in _judged_by(objectives).items()
    }
    found = {
        pick: simplest(point, feasible, objectives)
        for pick, point in best.items()
        if point is not None
    }
    balanced = _balanced(feasible, scale)
    return found | ({"balanced": balanced} if balanced else {})


def candidates(points: Sequence[FrontPoint], among: Candidates) -> list[FrontPoint]:
    """The feasible points that ran as asked, of those that may be picked."""
    feasible = [point for point in points if point.feasible and not point.fallbacks]
    if among is Candidates.WORTH_CONFIRMING:
        return [p if is_confirmed(p) else _without_grades(p) for p in feasible]
    if among is Candidates.MEASURED:
        return feasible
    return [point for point in feasible if is_confirmed(point)] or feasible


def ties(
    picked: Mapping[str, FrontPoint],
    points: Sequence[FrontPoint],
    objectives: Sequence[str],
    among: Candidates = Candidates.CONFIRMED,
) -> dict[str, tuple[int, ...]]:
    """The trials that cannot be told from a pick in what it was picked for: their intervals
    overlap, or the values differ by no more than the metric's resolution. Only what might be a
    pick itself is named.

    Args:
        picked: From ``picks``.
        points: The front.
        objectives: Names of metrics.
        among: As they were picked.

    Returns:
        Pick → trial numbers; picks that stand alone, and ``balanced``, are left out.
    """
    found = {
        pick: tuple(
            point.number
            for point in candidates(points, among)
            if point.number != picked[pick].number
            and point.value(name) is not None
            and not disturbed(point, name)
            and not differ(name, point.metrics, picked[pick].metrics)
        )
        for pick, name in _judged_by(objectives).items()
        if pick in picked
    }
    return {pick: numbers for pick, numbers in found.items() if numbers}


def unpicked(
    picked: Mapping[str, FrontPoint],
    points: Sequence[FrontPoint],
    objectives: Sequence[str],
    among: Candidates = Candidates.CONFIRMED,
) -> dict[str, str]:
    """Why picks that the objectives ask for are missing.

    Args:
        picked: From ``picks``.
        points: The front.
        objectives: Names of metrics.
        among: As they were picked.

    Returns:
        Pick → the reason in words; empty where none is missing, or nothing can be picked at all.
    """
    feasible = candidates(points, among)
    missing = {
        pick: f"{name} is of grade C (disturbed) wherever it was measured"
        if any(point.value(name) is not None for point in feasible)
        else f"{name} was not measured"
        for pick, name in _judged_by(objectives).items()
        if feasible and pick not in picked
    }
    if feasible and "balanced" not in picked and not _quiet(feasible, objectives):
        missing["balanced"] = "each recipe has an objective of grade C (disturbed)"
    return missing


def _judged_by(objectives: Sequence[str]) -> dict[str, str]:
    """Pick → the metric that it is the best in."""
    memory = _first(Family.MEMORY, objectives) or "weights_bytes"
    own_weights = memory != "weights_bytes" and "weights_bytes" in objectives
    metrics = {
        "fastest": _first(Family.SPEED, objectives),
        "smallest": memory,
        "smallest_weights": "weights_bytes" if own_weights else None,
        "greenest": _first(Family.ENERGY, objectives),
        "most_accurate": _first(Family.ACCURACY, objectives),
    }
    return {pick: name for pick, name in metrics.items() if name}


def _without_grades(point: FrontPoint) -> FrontPoint:
    metrics = {n: m.model_copy(update={"grade": None}) for n, m in point.metrics.items()}
    return replace(point, metrics=metrics)


def _first(family: Family, objectives: Sequence[str]) -> str | None:
    return next((name for name in objectives if metric(name).family is family), None)


def best_value(
    points: Sequence[FrontPoint],
    name: str,
    objectives: Sequence[str],
    baseline: FrontPoint | None,
) -> FrontPoint | None:
    """The best value of a metric; the fastest decides among those within the resolution of it
    that are as far from the baseline's: ties are not transitive.

    Args:
        points: From ``candidates``.
        name: The metric.
        objectives: Names of metrics; the first speed among them says which is the fastest.
        baseline: The study's, among the points or not.

    Returns:
        None where no point has a value that is not disturbed.
    """
    kind, own = metric(name), baseline.value(name) if baseline else None
    values = [
        (point, max(value, floor_of(name, point.metrics)))
        for point in points
        if (value := point.value(name)) is not None and not disturbed(point, name)
    ]
    if not values:
        return None
    pick_best = max if kind.direction is Direction.MAXIMIZE else min
    best = pick_best(value for _, value in values)
    beats = own is not None and not kind.tied(best, own)
    ties = [
        point
        for point, value in values
        if kind.tied(value, best) and not (beats and kind.tied(value, own))
    ]
    return min(ties, key=_rank(_first(Family.SPEED, objectives)))


def simplest(
    chosen: FrontPoint, points: Sequence[FrontPoint], objectives: Sequence[str]
) -> FrontPoint:
    """A point with part of the chosen one's recipe, if there is one that cannot be told from it
    in any objective: what shows no effect is left out."""
    simpler = [
        point
        for point in points
        if point.recipe.items() < chosen.recipe.items()
        and not point.is_baseline
        and not any(disturbed(point, name) for name in objectives)
        and not any(differ(name, point.metrics, chosen.metrics) for name in objectives)
    ]
    return min(simpler, key=lambda point: (len(point.recipe), point.number), default=chosen)


def disturbed(point: FrontPoint, name: str) -> bool:
    """Whether a point's value of a metric is of grade C."""
    found = point.metrics.get(name)
    return found is not None and found.grade is Grade.C


def _rank(speed: str | None) -> _Rank:
    """Fastest first, then anything but the baseline, then the earliest. Of those whose speed is
    not known, or too disturbed to be compared, the baseline is first: to leave it must gain
    something."""
    if speed is None:
        return lambda point: (point.is_baseline, point.number)
    faster = metric(speed).direction is Direction.MAXIMIZE

    def rank(point: FrontPoint) -> tuple[float, ...]:
        value = point.value(speed)
        if value is None or disturbed(point, speed):
            return (math.inf, not point.is_baseline, point.number)
        return (-value if faster else value, point.is_baseline, point.number)

    return rank


def _quiet(points: Sequence[FrontPoint], names: Sequence[str]) -> list[FrontPoint]:
    """Those of which none of these metrics is disturbed."""
    return [p for p in points if not any(disturbed(p, name) for name in names)]


def _balanced(points: Sequence[FrontPoint], scale: HypervolumeScale) -> FrontPoint | None:
    quiet = _quiet(points, [axis.metric for axis in scale.axes])
    if len(scale.axes) < 2 or not quiet:
        return None
    losses = {point.number: scale.losses(point.metrics) for point in points}
    columns = list(zip(*losses.values(), strict=True))
    best = [min(column) for column in columns]
    span = [max(column) - min(column) for column in columns]

    def distance(point: FrontPoint) -> float:
        places = zip(losses[point.number], best, span, strict=True)
        return math.hypot(*((loss - low) / wide for loss, low, wide in places if wide > 0))

    others = [p for p in quiet if not p.is_baseline] or quiet
    return min(others, key=lambda point: (distance(point), point.number))

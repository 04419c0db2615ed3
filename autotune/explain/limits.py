"""What the constraints exclude, and what comes nearest to keeping them."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.constraints import Constraint
from autotune.explain.records import Broken, Exclusion, NearestMiss
from autotune.front import FrontPoint


def exclusions(
    points: Sequence[FrontPoint], limits: Sequence[Constraint]
) -> tuple[Exclusion, ...]:
    """How many trials each constraint excludes, the strictest first.

    Args:
        points: The measured trials.
        limits: The study's constraints.
    """
    broken = [{str(c) for c in limits if _breaks(p, c)} for p in points]
    found = [
        Exclusion(
            constraint=str(limit),
            excluded=sum(str(limit) in mine for mine in broken),
            alone=sum(mine == {str(limit)} for mine in broken),
            measured=sum(_knows(point, limit) for point in points),
            not_measured=sum(not _knows(point, limit) for point in points),
        )
        for limit in limits
    ]
    return tuple(sorted(found, key=lambda e: (-e.excluded, -e.alone, e.constraint)))


def nearest_miss(points: Sequence[FrontPoint], limits: Sequence[Constraint]) -> NearestMiss | None:
    """The infeasible trial whose worst violation is smallest, of those that it was measured for.

    Args:
        points: The measured trials.
        limits: The study's constraints.
    """
    misses = [(p, broken) for p in points if (broken := _broken(p, limits))]
    if not misses:
        return None
    point, broken = min(misses, key=lambda m: (max(b.excess for b in m[1]), m[0].number))
    return NearestMiss(
        number=point.number,
        recipe=point.recipe,
        broken=broken,
        not_measured=tuple(str(c) for c in limits if not _knows(point, c)),
    )


def _knows(point: FrontPoint, limit: Constraint) -> bool:
    return point.value(limit.metric) is not None


def _breaks(point: FrontPoint, limit: Constraint) -> bool:
    return _knows(point, limit) and limit.violation(point.metrics) > 0


def _broken(point: FrontPoint, limits: Sequence[Constraint]) -> tuple[Broken, ...]:
    found = []
    for limit in limits:
        if _breaks(point, limit):
            measured = point.metrics[limit.metric]
            worse = measured.high if limit.is_upper else measured.low
            assert worse is not None
            excess = limit.violation(point.metrics)
            found.append(
                Broken(
                    constraint=str(limit),
                    value=worse,
                    excess=excess,
                    is_relative=limit.bound != 0,
                )
            )
    return tuple(found)

"""Dominance that noise cannot fake.

``a`` dominates ``b`` if a's values are at least as good on every objective, and on at least one
a is better beyond noise: the 95 % intervals do not overlap, and the values differ by more than
the metric's resolution. Values are rounded down to it before they are compared, and a
loss below its own floor is raised to it: under the floor all are ties (``autotune.costs``).
That is plain dominance of the rounded values with a further condition, so it has no cycles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.costs import cost
from autotune.messages import Metrics, RecipeDict, TaskScore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COSTS = ("value", "low", "high", "steps", "tie")
_CHUNK_POINTS = 256
"""Points compared with all others at once: 256 x 10,000 truth values stay in the cache."""


@dataclass(frozen=True)
class FrontPoint:
    """One measured trial, as the front sees it."""

    number: int
    recipe: RecipeDict
    metrics: Metrics
    feasible: bool = True
    fallbacks: tuple[str, ...] = ()
    """What ran otherwise than asked, in the search or in a repetition; never a pick if any."""
    tasks: tuple[TaskScore, ...] = ()
    """One for each task file, if they were run for it."""
    violation: str = ""
    """Which constraint it breaks in fresh processes and kept in the search; then infeasible."""

    @property
    def is_baseline(self) -> bool:
        """Whether its recipe changes nothing."""
        return not self.recipe

    def value(self, name: str) -> float | None:
        """The value of a metric; None where it was not measured."""
        found = self.metrics.get(name)
        return None if found is None else found.value


def differ(name: str, a: Metrics, b: Metrics) -> bool:
    """Whether two values of a metric can be told apart: beyond noise and its resolution.

    Args:
        name: The metric.
        a: Metrics of one trial.
        b: Metrics of the other.
    """
    mine, other = cost(name, a), cost(name, b)
    return mine.beats(other) or other.beats(mine)


def dominates(a: Metrics, b: Metrics, objectives: Sequence[str]) -> bool:
    """Whether ``a`` beats ``b`` beyond noise.

    Args:
        a: Metrics of one trial; an objective that is null or missing counts as the worst value.
        b: Metrics of the other.
        objectives: Names of metrics.

    Returns:
        True if a is at least as good on every objective by its rounded value, and better on at
        least one beyond its 95 % interval and its resolution.
    """
    pairs = [(cost(name, a), cost(name, b)) for name in objectives]
    at_least_as_good = all(mine.value <= other.value for mine, other in pairs)
    return at_least_as_good and any(mine.beats(other) for mine, other in pairs)


def front(points: Sequence[FrontPoint], objectives: Sequence[str]) -> list[FrontPoint]:
    """The feasible points that no feasible point dominates beyond noise, in the given order.

    Args:
        points: Measured trials; infeasible ones are left out and dominate nothing.
        objectives: Names of metrics.
    """
    feasible = [point for point in points if point.feasible]
    if not feasible or not objectives:
        return feasible
    costs = costs_of(feasible, objectives)
    return [p for p, out in zip(feasible, beaten(costs, costs), strict=True) if not out]


def costs_of(points: Sequence[FrontPoint], objectives: Sequence[str]) -> NDArray[np.float64]:
    """What points are compared by: value, low, high, steps and tie, each by objective and point,
    turned so that less is better.

    Args:
        points: Measured trials.
        objectives: Names of metrics.
    """
    import numpy as np

    costs = [[cost(name, point.metrics) for point in points] for name in objectives]
    parts = [[[getattr(one, part) for one in row] for row in costs] for part in COSTS]
    return np.array(parts, dtype=np.float64).reshape(len(COSTS), len(objectives), len(points))


def beaten(costs: NDArray[np.float64], rivals: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points some rival dominates: every chunk of points against all rivals.

    Args:
        costs: Of the points, as ``costs_of`` gives them, ``[5, objectives, n]``.
        rivals: Of the rivals, ``[5, objectives, m]``; a point never beats itself.

    Returns:
        ``[n]``.
    """
    import numpy as np

    value, low, _, steps, tie = costs
    their_value, _, their_high, their_steps, _ = rivals
    count, against = costs.shape[2], rivals.shape[2]
    found = np.zeros(count, dtype=bool)
    for start in range(0, count, _CHUNK_POINTS):
        mine = slice(start, start + _CHUNK_POINTS)
        at_least_as_good = np.ones((value[0, mine].size, against), dtype=bool)
        better = np.zeros_like(at_least_as_good)
        for k in range(len(value)):
            at_least_as_good &= their_value[k] <= value[k, mine, None]
            beyond = their_steps[k] + tie[k, mine, None] < steps[k, mine, None]
            better |= beyond & (their_high[k] < low[k, mine, None])
        found[mine] = (at_least_as_good & better).any(axis=1)
    return found

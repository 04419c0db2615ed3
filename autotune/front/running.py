"""The front of a search that goes on, kept up to date point by point."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Any

from autotune.front.dominance import FrontPoint, costs_of
from autotune.front.hypervolume import HypervolumeScale, covered

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RunningFront:
    """Compares each new point with the front so far, and not with all trials: what is not on the
    front now will not be there later. Of each point it keeps a few numbers, not its metrics."""

    def __init__(self, objectives: Sequence[str], bounds: dict[str, float]) -> None:
        """
        Args:
            objectives: Names of metrics.
            bounds: Constraint bounds by metric, see ``bounds_of``.
        """
        self._objectives = objectives
        self._bounds = bounds
        self._scale: HypervolumeScale | None = None
        # The front and the baseline, which is a rival even where it is beaten.
        self._costs: NDArray[Any] | None = None
        self._losses: list[tuple[float, ...]] = []
        self._numbers: list[int] = []
        self._on_front: list[bool] = []
        self._baseline: int | None = None

    @property
    def numbers(self) -> list[int]:
        """The trials on the front, in the order in which they came."""
        return list(compress(self._numbers, self._on_front))

    @property
    def size(self) -> int:
        """How many trials are on the front."""
        return sum(self._on_front)

    def add_all(self, points: Iterable[FrontPoint]) -> None:
        """Takes points in, one after the other."""
        for point in points:
            self.add(point)

    def add(self, point: FrontPoint) -> bool:
        """Takes a point in.

        Args:
            point: The baseline's comes first.

        Returns:
            Whether it is on the front so far.
        """
        if point.is_baseline:
            self._scale = HypervolumeScale.of(point.metrics, self._objectives, self._bounds)
        if not point.feasible:
            return False
        if point.is_baseline:
            self._baseline = point.number
        on_front = self._compare(costs_of([point], self._objectives), point.is_baseline)
        if on_front or point.is_baseline:
            self._losses.append(self._scale.losses(point.metrics) if self._scale else ())
            self._numbers.append(point.number)
            self._on_front.append(on_front)
        return on_front

    def _compare(self, mine: NDArray[Any], keep: bool) -> bool:
        """Leaves out the points that a new one beats; says whether none beats it."""
        import numpy as np

        if self._costs is None:
            self._costs = mine
            return True
        beaten = _beats(mine, self._costs)
        if beaten.any():
            self._leave_out(beaten)
        on_front = not _beats(self._costs, mine).any()
        if on_front or keep:
            self._costs = np.concatenate([self._costs, mine], axis=2)
        return on_front

    def _leave_out(self, beaten: NDArray[Any]) -> None:
        assert self._costs is not None
        on_front = [on and not out for on, out in zip(self._on_front, beaten, strict=True)]
        rivals = zip(on_front, self._numbers, strict=True)
        left = [on or number == self._baseline for on, number in rivals]
        self._costs = self._costs[:, :, left]
        self._losses = list(compress(self._losses, left))
        self._numbers = list(compress(self._numbers, left))
        self._on_front = list(compress(on_front, left))

    def hypervolume(self) -> float:
        """The share of the reachable space that is covered so far. What it costs grows with the
        front."""
        return covered(self._losses)


def _beats(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Which points of one side beat those of the other beyond noise; one side is one point."""
    value, low, high, steps, tie = range(5)
    at_least_as_good = (a[value] <= b[value]).all(axis=0)
    beyond = (a[steps] + b[tie] < b[steps]) & (a[high] < b[low])
    result: NDArray[Any] = at_least_as_good & beyond.any(axis=0)
    return result

"""How much of the reachable space a front covers: one number of progress, 0 to 1.

The scale is fixed by the baseline b when a study begins, so that the running value never falls
and can be compared within one study. It measures progress and nothing else: never compare it
between studies. Each objective runs from ``reference`` (covers nothing) to ``ideal``:

==========================================  =============  ========  ======
objective                                   reference      ideal     scale
==========================================  =============  ========  ======
maximised (tokens/s, samples/s)             b/8            64 b      log
minimised (seconds, bytes, joules, watts)   4 b            b/32      log
loss that is 0 for the baseline (KLD ...)   bound, else 1  0         linear
top-1 agreement                             bound, else 0  1         linear
==========================================  =============  ========  ======

Values beyond an end are clipped to it. An objective without a positive baseline is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from autotune import constraints
from autotune.front.dominance import FrontPoint
from autotune.messages import Metrics
from autotune.metrics import Direction, metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOSSES = ("kld_mean_nats", "nll_delta_nats", "embedding_cosine_distance")
"""Zero for the baseline by definition, so no logarithm and no ratio."""
_SHARES = ("top1_agreement_ratio",)


def bounds_of(texts: Iterable[str]) -> dict[str, float]:
    """The limits that constraints set in the direction of each metric's worse values.

    Args:
        texts: Constraints such as ``kld_mean_nats<=0.05``.
    """
    return {
        limit.metric: limit.bound
        for limit in constraints.parse_all(texts)
        if limit.is_upper == (metric(limit.metric).direction is Direction.MINIMIZE)
    }


@dataclass(frozen=True)
class Axis:
    """One objective's scale."""

    metric: str
    reference: float
    """Covers nothing, and so does anything worse."""
    ideal: float
    log: bool

    def loss(self, metrics: Metrics) -> float:
        """Where a value lies: 0 at the ideal, 1 at the reference; null is 1."""
        measured = metrics.get(self.metric)
        value = None if measured is None else measured.value
        if value is None or not math.isfinite(value):
            return 1.0
        if self.log and value <= 0:
            # Only a minimised quantity can be better than every positive number.
            return 0.0 if self.ideal < self.reference else 1.0
        place, ideal, reference = (
            math.log(x) if self.log else x for x in (value, self.ideal, self.reference)
        )
        return min(1.0, max(0.0, (place - ideal) / (reference - ideal)))


@dataclass(frozen=True)
class HypervolumeScale:
    """The space that the hypervolume is a share of."""

    axes: tuple[Axis, ...]

    @classmethod
    def of(
        cls,
        baseline: Metrics,
        objectives: Sequence[str],
        bounds: Mapping[str, float] | None = None,
    ) -> Self:
        """Fixes the scale of a study.

        Args:
            baseline: The baseline's metrics.
            objectives: Names of metrics.
            bounds: Constraint bounds by metric, see ``bounds_of``.
        """
        axes = (_axis(name, baseline, bounds or {}) for name in objectives)
        return cls(tuple(axis for axis in axes if axis is not None))

    def losses(self, metrics: Metrics) -> tuple[float, ...]:
        """One loss per axis, 0 (ideal) to 1 (reference)."""
        return tuple(axis.loss(metrics) for axis in self.axes)

    def share(self, metrics: Metrics) -> float:
        """The share of the space that one point dominates by itself."""
        return math.prod(1.0 - loss for loss in self.losses(metrics)) if self.axes else 0.0


def _axis(name: str, baseline: Metrics, bounds: Mapping[str, float]) -> Axis | None:
    bound = bounds.get(name)
    if name in LOSSES:
        return Axis(name, bound if bound is not None and bound > 0 else 1.0, 0.0, log=False)
    if name in _SHARES:
        return Axis(name, bound if bound is not None and bound < 1 else 0.0, 1.0, log=False)
    measured = baseline.get(name)
    b = None if measured is None else measured.value
    if b is None or not math.isfinite(b) or b <= 0:
        return None
    if metric(name).direction is Direction.MAXIMIZE:
        return Axis(name, b / 8, b * 64, log=True)
    return Axis(name, b * 4, b / 32, log=True)


def hypervolume(points: Iterable[FrontPoint], scale: HypervolumeScale) -> float:
    """The share of the space that the feasible points dominate together, by plain values.

    Args:
        points: Measured trials.
        scale: The study's scale.

    Returns:
        0 to 1; adding a point never makes it smaller.
    """
    return covered([scale.losses(point.metrics) for point in points if point.feasible])


def hypervolume_history(points: Iterable[FrontPoint], scale: HypervolumeScale) -> list[float]:
    """The hypervolume after each of the points, in their order."""
    import numpy as np

    best = np.empty((0, len(scale.axes)))
    history: list[float] = []
    for point in points:
        losses = np.array(scale.losses(point.metrics))
        if point.feasible and not (best <= losses).all(axis=1).any():
            best = np.vstack([best[(best < losses).any(axis=1)], losses])
            history.append(covered(best))
        else:
            history.append(history[-1] if history else 0.0)
    return history


def covered(losses: Sequence[tuple[float, ...]] | NDArray[np.float64]) -> float:
    """The share of the space that points of these losses dominate together.

    Args:
        losses: From ``HypervolumeScale.losses``.
    """
    if not len(losses) or not len(losses[0]):
        return 0.0
    if len(losses[0]) == 1:
        return 1.0 - min(loss[0] for loss in losses)
    import moocore

    return float(moocore.hypervolume(losses, ref=1.0))

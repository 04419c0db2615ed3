"""Which of very many trials may be on the front, from columns of numbers: without an object for
each."""

from __future__ import annotations

from typing import Any

import numpy as np

from autotune.front.dominance import beaten
from autotune.metrics import Direction, metric
from autotune.surrogate.improvement import not_dominated

Column = np.ndarray[Any, np.dtype[np.float64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def cost_columns(name: str, value: Column, low: Column, high: Column, floor: float) -> Column:
    """What trials are compared by in one metric, as ``autotune.costs.cost`` says of one trial, but
    for an interval that is wider where a ratio was measured.

    Args:
        name: The metric.
        value: ``[n]``, NaN where it was not measured.
        low: Lower ends of the intervals, ``[n]``.
        high: Upper ends, ``[n]``.
        floor: What values are raised to; minus infinity for a metric without a floor.

    Returns:
        Value, low, high, steps and tie, ``[5, n]``.
    """
    kind = metric(name)
    steps = np.array([kind.steps(v) for v in np.maximum(value, floor).tolist()])
    low, high = np.maximum(low, floor), np.maximum(high, floor)
    if kind.direction is Direction.MAXIMIZE:
        steps, low, high = -steps, -high, -low
    rounded = np.floor(steps) if kind.ties else steps
    there = np.isfinite(value)
    costs = np.where(there, np.array([rounded, low, high, steps]), np.inf)
    return np.vstack([costs, there & kind.ties])


def may_lead(costs: Column, sound: Mask) -> Mask:
    """Which trials no sound one beats beyond noise.

    Args:
        costs: By objective, ``[5, objectives, n]``.
        sound: ``[n]``, which trials' numbers hold in every comparison: feasible, undisturbed, run
            as asked, not repeated since.

    Returns:
        ``[n]``; all of the front is among them.
    """
    rivals = costs[:, :, sound & np.isfinite(costs).all(axis=(0, 1))]
    # Of those that a rival beats, nothing has to be asked: it beats what they beat, or nearly.
    return ~beaten(costs, rivals[:, :, not_dominated(np.ascontiguousarray(rivals[3].T))])

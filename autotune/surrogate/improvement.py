"""Expected hypervolume improvement over a front, exact for independent metrics."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import moocore
import numpy as np
from scipy.special import ndtr

Array = np.ndarray[Any, np.dtype[np.float64]]
_Corners = np.ndarray[Any, np.dtype[np.intp]]

_MOST_POINTS = (1, 1000, 50, 24, 14, 10)
"""Of a front of one, two, ... metrics: the boxes between more would be too many."""
_CHUNK_ROWS = 512
ROOM_BEYOND_FRONT = 0.1
"""Of its width: the ends of the front count too."""


def not_dominated(losses: Array) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which rows no other row is at least as good as in everything and better in something.

    Args:
        losses: ``[n, m]``, less is better.
    """
    if not len(losses):
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(losses, keep_weakly=True), dtype=bool)


def front_scale(losses: Array, every: Array) -> tuple[Array, Array]:
    """The ideal of each metric, and the width of the front, ``[m]`` each.

    Args:
        losses: What may be on the front, ``[n, m]``.
        every: All that was measured, ``[k, m]``: the width is a tenth of its range at least.
    """
    front = losses[not_dominated(losses)]
    ideal = losses.min(axis=0)
    least = 0.1 * np.ptp(every, axis=0) + 1e-9
    return ideal, np.maximum(front.max(axis=0) - ideal, least)


def expected_improvement(means: Array, deviations: Array, front: Array, reference: Array) -> Array:
    """How much hypervolume each candidate is expected to add to a front.

    The space that the front leaves free is cut into boxes. A candidate's share of a box is a
    product over metrics, so its expectation is one of one-dimensional integrals (Emmerich, Yang
    et al. 2016, "A Multicriteria Generalization of Bayesian Global Optimization").

    Args:
        means: Of each candidate and metric, ``[n, m]``, less is better.
        deviations: Standard deviations, ``[n, m]``, above 0.
        front: What was reached, ``[k, m]``, none dominated by another.
        reference: What is worth nothing, ``[m]``.

    Returns:
        ``[n]``, in the product of the metrics' units.
    """
    front = _thinned(front[(front < reference).all(axis=1)], reference)
    cuts, lower, upper = _cut(front, reference)
    gains = np.zeros(len(means))
    for start in range(0, len(means), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        shares = np.ones((len(lower), len(means[chunk])))
        for k, cut in enumerate(cuts):
            below = _below(cut, means[chunk, k], deviations[chunk, k])
            shares *= below[upper[:, k]] - below[lower[:, k]]
        gains[chunk] = shares.sum(axis=0)
    return gains


def _below(cuts: Array, means: Array, deviations: Array) -> Array:
    """The expected length between a normal variable and each cut where it is below,
    ``[cuts, n]``; 0 at minus infinity."""
    z = (cuts[1:, None] - means) / deviations
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    lengths = deviations * (z * ndtr(z) + density)
    return np.vstack([np.zeros(len(means)), lengths])


def _thinned(front: Array, reference: Array) -> Array:
    """Without the points that contribute least, one after the other, if there are too many: what
    is free near them is then overrated, by less than any that stay contribute."""
    most = _MOST_POINTS[min(front.shape[1], len(_MOST_POINTS)) - 1]
    while len(front) > most:
        gains = moocore.hv_contributions(front, ref=reference)
        front = np.delete(front, int(np.argmin(gains)), axis=0)
    return front


def _cut(front: Array, reference: Array) -> tuple[list[Array], _Corners, _Corners]:
    """Cuts of each metric, and the boxes' corners as numbers of cuts."""
    cuts = [np.array([-np.inf, *np.unique(column)]) for column in front.T]
    cuts = [np.append(cut, end) for cut, end in zip(cuts, reference, strict=True)]
    places = np.array(
        [np.searchsorted(cut, column) for cut, column in zip(cuts, front.T, strict=True)],
        dtype=np.intp,
    ).T.reshape(len(front), len(cuts))
    boxes = _boxes(places, np.array([len(cut) - 1 for cut in cuts]))
    corners = np.array(boxes, dtype=np.intp)
    return cuts, corners[:, 0], corners[:, 1]


def _boxes(places: _Corners, ends: _Corners) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Disjoint boxes that together are what no point dominates: slabs of the last metric, each cut
    by the points that reach into it.

    Args:
        places: The points' cuts, ``[k, m]``.
        ends: The reference's cut in each metric, ``[m]``.
    """
    if len(ends) == 1:
        end = int(places.min()) if len(places) else int(ends[0])
        return [((0,), (end,))]
    edges = [0, *np.unique(places[:, -1]).tolist(), int(ends[-1])]
    boxes = []
    for low, high in pairwise(edges):
        within = places[places[:, -1] <= low][:, :-1]
        within = within[not_dominated(within.astype(float))]
        for lower, upper in _boxes(np.unique(within, axis=0), ends[:-1]):
            boxes.append(((*lower, low), (*upper, high)))
    return boxes

"""What an earlier study hands over to one that begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.front.hypervolume import covered
from autotune.search.features import Rows
from autotune.search.observation import Observation
from autotune.search.quantity import Quantity
from autotune.search.surrogates import Known, spread_out
from autotune.surrogate.improvement import ROOM_BEYOND_FRONT, front_scale, not_dominated

LEAST_TRIALS = 8
"""An earlier study with fewer tells too little."""
_MOST_COPIED = 10
_MOST_KNOWN = 200
"""Trials of an earlier study that are modelled."""


@dataclass(frozen=True)
class Transfer:
    """What an earlier study measured of this one's pool; by default nothing."""

    known: Mapping[str, Known] = field(default_factory=dict)
    """By metric; of every objective, or of nothing. Of a long study a part."""
    best: tuple[int, ...] = ()
    """Places in this pool of the few recipes to be tried first."""


def transfer_of(
    earlier: Sequence[tuple[int, Observation]], quantities: Sequence[Quantity]
) -> Transfer:
    """What is handed over.

    Args:
        earlier: Places in this pool of the recipes that it tried, and what came of them.
        quantities: What this study models.

    Returns:
        Nothing, where some objective was measured too rarely.
    """
    worked = {index: seen for index, seen in earlier if not seen.failed}
    known = {q.name: _known(worked, q) for q in quantities}
    wanted = [known[q.name] for q in quantities if q.objective]
    if min(len(each.indices) for each in wanted) < LEAST_TRIALS:
        return Transfer()
    best = _best([index for index, seen in worked.items() if seen.feasible], wanted)
    kept = {name: _thinned(each, best) for name, each in known.items() if len(each.indices)}
    return Transfer(kept, best)


def _known(worked: Mapping[int, Observation], quantity: Quantity) -> Known:
    found = {index: seen.values.get(quantity.name) for index, seen in worked.items()}
    pairs = {index: pair for index, pair in found.items() if pair is not None}
    values, errors = np.array(list(pairs.values())).reshape(-1, 2).T
    indices = np.array(list(pairs), dtype=np.intp)
    return Known(indices, quantity.losses(values), quantity.loss_errors(values, errors))


def _thinned(known: Known, best: Sequence[int]) -> Known:
    """What was best, and of a long study some of the rest."""
    is_best = np.isin(known.indices, best)
    others = np.flatnonzero(~is_best)
    some = others[spread_out(len(others), _MOST_KNOWN - int(is_best.sum()))]
    kept = np.sort(np.concatenate([np.flatnonzero(is_best), some]))
    return Known(known.indices[kept], known.losses[kept], known.errors[kept])


def _best(feasible: Sequence[int], known: Sequence[Known]) -> tuple[int, ...]:
    """The front first, each time the recipe that adds most to its hypervolume; then what is the
    front without these; and so on."""
    of = [dict(zip(k.indices.tolist(), k.losses.tolist(), strict=True)) for k in known]
    left = [index for index in feasible if all(index in each for each in of)]
    if not left:
        return ()
    losses = np.array([[each[index] for each in of] for index in left])
    ideal, width = front_scale(losses, losses)
    scaled = np.clip((losses - ideal) / ((1 + ROOM_BEYOND_FRONT) * width), 0.0, 1.0)
    order: list[int] = []
    while len(order) < min(_MOST_COPIED, len(left)):
        others = np.setdiff1d(np.arange(len(left)), order)
        order += _greedily(scaled, others[not_dominated(losses[others])].tolist())
    return tuple(left[i] for i in order[:_MOST_COPIED])


def _greedily(scaled: Rows, layer: list[int]) -> list[int]:
    order: list[int] = []
    while layer and len(order) < _MOST_COPIED:
        gains = [covered(scaled[[*order, i]]) for i in layer]
        order.append(layer.pop(int(np.argmax(gains))))
    return order

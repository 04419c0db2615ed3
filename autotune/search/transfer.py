"""What an earlier study hands over to one that begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autotune.front.hypervolume import covered
from autotune.search.features import Rows
from autotune.search.observation import Observation
from autotune.search.quantity import Quantity
from autotune.search.surrogates import Known
from autotune.surrogate.improvement import not_dominated

LEAST_TRIALS = 8
"""An earlier study with fewer tells too little."""
_MOST_COPIED = 10
_ROOM_BEYOND_FRONT = 1.1
"""The ends of the front count too."""


@dataclass(frozen=True)
class Transfer:
    """What an earlier study measured of this one's pool; by default nothing."""

    known: Mapping[str, Known] = field(default_factory=dict)
    """By metric; of every objective, or of nothing."""
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
    known = {}
    for quantity in quantities:
        found = {i: seen.values.get(quantity.name) for i, seen in earlier if not seen.failed}
        pairs = {index: pair for index, pair in found.items() if pair is not None}
        if len(pairs) >= LEAST_TRIALS:
            values, errors = np.array(list(pairs.values())).T
            losses = quantity.losses(values)
            known[quantity.name] = Known(
                np.array(list(pairs)), losses, quantity.loss_errors(values, errors)
            )
    wanted = [q.name for q in quantities if q.objective]
    if not all(name in known for name in wanted):
        return Transfer()
    feasible = [index for index, seen in earlier if seen.feasible]
    return Transfer(known, _best(feasible, [known[name] for name in wanted]))


def _best(feasible: Sequence[int], known: Sequence[Known]) -> tuple[int, ...]:
    """The front first, each time the recipe that adds most to its hypervolume; then what is the
    front without these; and so on."""
    of = [dict(zip(k.indices.tolist(), k.losses.tolist(), strict=True)) for k in known]
    left = [index for index in dict.fromkeys(feasible) if all(index in each for each in of)]
    if not left:
        return ()
    losses = np.array([[each[index] for each in of] for index in left])
    front = losses[not_dominated(losses)]
    least = 0.1 * np.ptp(losses, axis=0) + 1e-9
    width = _ROOM_BEYOND_FRONT * np.maximum(np.ptp(front, axis=0), least)
    scaled = np.clip((losses - front.min(axis=0)) / width, 0.0, 1.0)
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

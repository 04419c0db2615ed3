"""What an earlier study lets expect of every recipe of this one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autotune.search.features import Features
from autotune.search.observation import Observation
from autotune.search.quantity import Quantity
from autotune.search.surrogates import Prior, Surrogate

LEAST_TRIALS = 8
"""An earlier study with fewer tells too little."""
_CHUNK_RECIPES = 2048


def priors_of(
    earlier: Sequence[tuple[int, Observation]],
    features: Features,
    quantities: Sequence[Quantity],
) -> Mapping[str, Prior]:
    """Models what an earlier study measured, for every recipe of this one's pool.

    Args:
        earlier: Places in this pool of the recipes that it tried, and what came of them.
        features: This pool in columns.
        quantities: What this study models.

    Returns:
        By metric; empty where some objective was measured too rarely.
    """
    priors = {}
    for quantity in quantities:
        model = Surrogate(features.of(quantity.moved_by))
        found = {i: seen.values.get(quantity.name) for i, seen in earlier if not seen.failed}
        known = {index: pair for index, pair in found.items() if pair is not None}
        if len(known) >= LEAST_TRIALS:
            values, errors = np.array(list(known.values())).T
            losses = quantity.losses(values)
            model.learn(np.array(list(known)), losses, quantity.loss_errors(values, errors))
            priors[quantity.name] = _prior(model, len(features.matrix), float(np.std(losses)))
    wanted = [q.name for q in quantities if q.objective]
    return priors if all(name in priors for name in wanted) else {}


def _prior(model: Surrogate, recipes: int, spread: float) -> Prior:
    chunks = [
        model.expect(np.arange(start, min(start + _CHUNK_RECIPES, recipes)))
        for start in range(0, recipes, _CHUNK_RECIPES)
    ]
    means, deviations = (np.concatenate(part) for part in zip(*chunks, strict=True))
    return Prior(means, deviations, spread)

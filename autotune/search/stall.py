"""Whether a search still finds anything."""

from __future__ import annotations

from autotune.search.features import Rows


def is_stalled(losses: Rows, errors: Rows, trials: int) -> bool:
    """Whether none of the last trials is better than each one before it in some objective, by more
    than the error of measuring.

    Args:
        losses: Of each trial in the order in which they ended, ``[n, objectives]``.
        errors: What a difference must exceed, ``[objectives]``.
        trials: How many of the last ones are looked at; as long as there are no others, no search
            is stalled.
    """
    bounds = losses - errors
    return len(losses) > trials and all(
        bool((bounds[:number] <= losses[number]).all(axis=1).any())
        for number in range(len(losses) - trials, len(losses))
    )

"""Pruning in several steps, with a little training after each; no plugin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autotune.plugin import Context
from autotune_plugins._distilling import learn, lessons
from autotune_plugins._kept_weights import keep, take_kept
from autotune_plugins._training import Settings

STEPS = 3
"""In which the ratio is reached."""

_RECOVERY = Settings(steps=40)


def shares(steps: int) -> list[float]:
    """How far each step goes, the last one to 1: most at first, ever less later, as in the cubic
    schedule of Zhu and Gupta (2017)."""
    return [1 - (1 - step / steps) ** 3 for step in range(1, steps + 1)]


def prune_gradually(model: Any, cut: Callable[[float], None], context: Context) -> None:
    """Prunes in steps; between them the model learns from the original.

    After the last step it does not: that is for ``distill``.

    Args:
        model: Changed in place.
        cut: Prunes the model so far; it is given the share of the whole way.
        context: With the teacher. What was trained is kept in its artifact.

    Raises:
        FloatingPointError: The training diverged.
        Unsupported: There is no teacher, or calibration text is not fit for it.
        ValueError: The artifact is of another model.
    """
    *first, last = shares(STEPS)
    # Cut at once it has the same shapes; which weights these are is overwritten.
    if take_kept(model, context, reshape=lambda: cut(last)):
        return
    with lessons(_RECOVERY, context) as given:
        for share in first:
            cut(share)
            context.notes.append(
                f"pruned {share:.0%} of the way, {learn(model, _RECOVERY, given)}"
            )
    cut(last)
    keep(model, context)

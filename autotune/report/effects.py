"""What each plugin gave and cost, as rows: HTML and Markdown share them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotune.explain import Explanation
from autotune.explain.records import Choice, Effect, Estimate
from autotune.explain.shown import by_choice, largest
from autotune.explain.words import effect_words, goodness
from autotune.metrics import metric
from autotune.numbers import counted

UNKNOWN = "?"
_MOST_ROWS = 40
_JUDGED = {1: "better", 0: "", -1: "worse"}


@dataclass(frozen=True)
class EffectCell:
    """What a choice does to one metric."""

    text: str
    """``1.40x (1.31 to 1.50)`` with the typographic sign; ``UNKNOWN`` where the trials do not
    tell."""
    judged: str
    """``better`` or ``worse`` beyond noise, else empty."""
    reason: str
    """Why it is unknown."""
    estimate: Estimate | None


@dataclass(frozen=True)
class EffectRow:
    """What a plugin, or one of its values, does on average, all else equal."""

    choice: Choice
    trials: int
    """Measured with it."""
    cells: tuple[EffectCell, ...]
    """One for each metric of the explanation."""

    @property
    def words(self) -> str:
        """``quantize``, ``quantize.scheme=int8``."""
        return self.choice.words


def effect_rows(found: Explanation) -> list[EffectRow]:
    """The choices that the trials tell something of; where they are many, the largest effects.

    Args:
        found: The study's explanation.
    """
    rows = by_choice(found.effects)
    return [
        EffectRow(
            choice,
            max(effect.trials for effect in rows[choice].values()),
            tuple(_cell(rows[choice][name]) for name in found.metrics),
        )
        for choice in largest(rows, _MOST_ROWS)
    ]


def _cell(effect: Effect) -> EffectCell:
    if effect.estimate is None:
        return EffectCell(UNKNOWN, "", effect.reason, None)
    good = goodness(effect)
    judged = _JUDGED[(good > 0) - (good < 0)]
    return EffectCell(effect_words(effect.metric, effect.estimate), judged, "", effect.estimate)


def fit_words(found: Explanation) -> Iterator[str]:
    """How far the sum of effects explains each metric.

    Args:
        found: The study's explanation.
    """
    for fit in found.fits:
        label, trials = metric(fit.metric).label, counted(fit.trials, "trial")
        if fit.explained_ratio is None:
            yield f"{label}: {trials} tell no effects"
        else:
            share = f"{100 * max(0, fit.explained_ratio):.0f} %"
            out = f"; {fit.left_out} left out (grade C, or fell back)" if fit.left_out else ""
            yield f"{label}: the sum of effects explains {share} of how {trials} differ{out}"

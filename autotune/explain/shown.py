"""Which effects are worth a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from autotune.explain.records import Choice, Effect
from autotune.explain.words import goodness

ByMetric = Mapping[str, Effect]


def by_choice(effects: Iterable[Effect]) -> dict[Choice, dict[str, Effect]]:
    """Effects as rows: choice → metric → effect.

    Args:
        effects: Of an explanation, in its order.
    """
    rows: dict[Choice, dict[str, Effect]] = {}
    for effect in effects:
        rows.setdefault(effect.choice, {})[effect.metric] = effect
    return rows


def largest(rows: Mapping[Choice, ByMetric], most: int) -> list[Choice]:
    """The choices that are told, in their order; where they are many, plugins before values and
    those with the largest effects first. A plugin's only value is told as the plugin.

    Args:
        rows: From ``by_choice``.
        most: How many are shown at most.
    """
    values: dict[tuple[str, str], int] = {}
    for choice in rows:
        values[choice.plugin, choice.param] = values.get((choice.plugin, choice.param), 0) + 1
    told = [
        choice
        for choice, mine in rows.items()
        if any(effect.estimate for effect in mine.values())
        and (not choice.param or values[choice.plugin, choice.param] > 1)
    ]

    def key(choice: Choice) -> tuple[bool, float]:
        return bool(choice.param), -max(abs(goodness(e)) for e in rows[choice].values())

    kept = set(sorted(told, key=key)[:most])
    return [choice for choice in told if choice in kept]

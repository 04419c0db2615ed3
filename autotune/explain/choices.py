"""Recipes as columns of numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from autotune.explain.records import Choice
from autotune.params import Params, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Choices = frozenset[Choice]
"""Those of one recipe."""
Detail = tuple[str, str]
"""A plugin and one of its params."""


def choices_of(recipe: Mapping[str, Params]) -> Choices:
    """The plugins that are on, and their values."""
    on = [_choice(plugin) for plugin in recipe]
    values = [
        _choice(plugin, param, value)
        for plugin, params in recipe.items()
        for param, value in params.items()
    ]
    return frozenset([*on, *values])


@lru_cache(maxsize=10_000, typed=True)
def _choice(plugin: str, param: str = "", value: Scalar | None = None) -> Choice:
    """One object for each choice: sets of thousands of recipes compare by identity first."""
    return Choice(plugin=plugin, param=param, value=value)


def details_of(rows: Sequence[Choices]) -> dict[Detail, list[Choice]]:
    """Plugin and param → its values, the one that was tried most first; params of which only one
    was tried are left out: they tell nothing that their plugin does not."""
    counts = Counter(choice for row in rows for choice in row if choice.param)
    found: dict[Detail, list[Choice]] = {}
    for choice in sorted(counts, key=lambda c: (-counts[c], c.words)):
        found.setdefault((choice.plugin, choice.param), []).append(choice)
    return {detail: values for detail, values in sorted(found.items()) if len(values) > 1}


@dataclass(frozen=True)
class Design:
    """The columns of an additive model: one for all trials, one for each plugin that is on, and
    for each param with details one for each value but that which was tried most. A param that is
    not active has none of them: the value that switches it off has a column of its own."""

    rows: tuple[Choices, ...]
    columns: tuple[Choice | None, ...]
    """None: the column for all trials."""

    @classmethod
    def of(cls, rows: Sequence[Choices], details: Mapping[Detail, Sequence[Choice]]) -> Design:
        """
        Args:
            rows: One for each trial.
            details: From ``details_of``, or some of it.
        """
        plugins = sorted({choice.plugin for row in rows for choice in row})
        values = [choice for found in details.values() for choice in found[1:]]
        return cls(tuple(rows), (None, *(Choice(plugin=p) for p in plugins), *values))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """Ones and zeros by trial and column."""
        import numpy as np

        place = {column: i for i, column in enumerate(self.columns)}
        matrix = np.zeros((len(self.rows), len(self.columns)))
        matrix[:, 0] = 1.0
        for i, row in enumerate(self.rows):
            matrix[i, [place[choice] for choice in row if choice in place]] = 1.0
        return matrix

    def contrast(self, choice: Choice) -> NDArray[np.float64]:
        """What a choice adds on average over the trials that have it: its plugin's columns there,
        nothing of the other plugins."""
        import numpy as np

        mean = self.matrix[[choice in row for row in self.rows]].mean(axis=0)
        return np.where(self.which(choice.plugin), mean, 0.0)

    def which(self, plugin: str, param: str = "") -> NDArray[np.bool_]:
        """Which columns are a plugin's, or those of one of its params' values."""
        import numpy as np

        return np.array(
            [
                c is not None and c.plugin == plugin and (not param or c.param == param)
                for c in self.columns
            ]
        )

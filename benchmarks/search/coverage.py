"""How much of a table's true front has been found: hypervolume on a scale fixed by that front.

Each objective runs from the front's best value (ideal) to one that is 10 % worse than its worst
(nadir), so that the ends of the front count too: on a log scale a nadir 1.1 times as large (or
small), elsewhere moved out by 10 % of the length. Metrics of autotune have the scale on which a
search models them: losses of accuracy that are 0 for the baseline are linear below 0.001, where
they are negligible, and logarithmic above. Other objectives are linear if they are not positive
throughout. Points outside are clipped. A front of one point thus has a scale too: what is within
10 % of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import moocore
import numpy as np
from numpy.typing import NDArray

from autotune.search.quantity import Quantity, logarithm
from autotune.tables import Table
from benchmarks.search.pool import quantities_of_table

_WIDER = 0.1
Numbers = NDArray[np.float64]


class Coverage:
    """The scale of one table."""

    def __init__(self, table: Table) -> None:
        """
        Raises:
            ValueError: No row is valid.
        """
        valid = [row for row in table.rows if row.valid]
        if not valid:
            raise ValueError(f"table {table.name}: no row has the outcome ok")
        values = np.array([[row.metrics[o.name] for o in table.objectives] for row in valid])
        scales = [
            _Scale.of(values[:, i], quantity)
            for i, quantity in enumerate(quantities_of_table(table))
        ]
        places = np.column_stack([scale.places for scale in scales])
        front = places[moocore.is_nondominated(places)]
        ideal, nadir = front.min(axis=0), front.max(axis=0)
        length = [
            scale.widened(float(size)) for scale, size in zip(scales, nadir - ideal, strict=True)
        ]
        losses = iter(np.clip((places - ideal) / length, 0.0, 1.0))
        self.losses: list[Numbers | None] = [
            next(losses) if row.valid else None for row in table.rows
        ]
        """By row number: 0 is the ideal; None for a row that failed."""
        self.front_size = len(np.unique(front, axis=0))
        self._whole = _covered((front - ideal) / length)

    def history(self, rows: Sequence[int | None]) -> list[float]:
        """The share of the table's hypervolume after each of these evaluations.

        Args:
            rows: Row numbers; None for what measured nothing.
        """
        best = np.empty((0, 0))
        history: list[float] = []
        for row in rows:
            loss = None if row is None else self.losses[row]
            if loss is None or (len(best) and (best <= loss).all(axis=1).any()):
                history.append(history[-1] if history else 0.0)
                continue
            kept = best[(best < loss).any(axis=1)] if len(best) else np.empty((0, len(loss)))
            best = np.vstack([kept, loss])
            history.append(_covered(best) / self._whole)
        return history


@dataclass(frozen=True)
class _Scale:
    """Where the values of one objective lie; less is better."""

    places: Numbers
    log: bool

    @classmethod
    def of(cls, values: Numbers, quantity: Quantity) -> Self:
        return cls(quantity.losses(values), quantity.scale is logarithm)

    def widened(self, length: float) -> float:
        """From the ideal to what counts nothing, given the length of the front."""
        if self.log:
            return length + math.log1p(_WIDER)
        # A front of one value says nothing of the length of its scale.
        return (1 + _WIDER) * length or float(np.ptp(self.places)) or 1.0


def evaluations_to(history: Sequence[float], target: float) -> int | None:
    """How many evaluations it took to a share of the hypervolume; None: it was not reached."""
    places = (i for i, share in enumerate(history) if share >= target - 1e-9)
    found = next(places, None)
    return None if found is None else found + 1


def _covered(losses: Numbers) -> float:
    return float(moocore.hypervolume(losses, ref=1.0))

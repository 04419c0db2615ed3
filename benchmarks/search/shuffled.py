"""Random search without repeats: the rows in random order."""

from __future__ import annotations

import random

from autotune.tables import Table
from benchmarks.search.tuner import Exhausted, Told


class ShuffledTuner:
    """Every row once."""

    def __init__(self, table: Table, seed: int) -> None:
        self._rows = list(range(len(table.rows)))
        random.Random(seed).shuffle(self._rows)

    def ask(self, warm_setup: str | None) -> int | None:
        """The next row."""
        if not self._rows:
            raise Exhausted
        return self._rows.pop()

    def tell(self, told: Told) -> None:
        """Learns nothing."""

"""Walks through the pool: in its own order, or in a random one."""

from __future__ import annotations

import numpy as np

from autotune.search.observation import Observations
from autotune.search.pool_code import Integers, Mask


class OrderChooser:
    """Learns nothing. A random order over the pool is the measure of every other way to choose."""

    def __init__(self, recipes: int, seed: int | None = None) -> None:
        """
        Args:
            recipes: How many the pool has.
            seed: Of a random order; none: the pool's.
        """
        every = np.arange(recipes)
        self._order = every if seed is None else np.random.default_rng(seed).permutation(every)
        self._next = 0

    def begin(self, index: int) -> None:
        """Nothing to note."""

    def observe(self, indices: Integers, seen: Observations) -> None:
        """Nothing to learn."""

    def choose(self, allowed: Mask, warm: int | None = None) -> int:
        """The next recipe in order that may be chosen."""
        while not allowed[self._order[self._next % len(self._order)]]:
            self._next += 1
        return int(self._order[self._next % len(self._order)])

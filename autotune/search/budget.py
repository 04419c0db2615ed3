"""When a search stops, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from autotune.config import Budget

DEFAULT_TRIALS = 40
"""Of a study that names no budget."""


@dataclass
class Clock:
    """Counts trials and minutes against the budget."""

    budget: Budget
    started: float = field(default_factory=time.monotonic)

    @property
    def trials(self) -> int | None:
        """The limit in trials; a study without any budget has a default one."""
        unlimited = self.budget.trials is None and self.budget.minutes is None
        return DEFAULT_TRIALS if unlimited else self.budget.trials

    @property
    def minutes(self) -> float:
        """Minutes of this run so far."""
        return (time.monotonic() - self.started) / 60

    def describe(self) -> str:
        """The budget in words."""
        parts = []
        if self.trials is not None:
            parts.append(f"{self.trials} trials")
        if self.budget.minutes is not None:
            parts.append(f"{self.budget.minutes:g} minutes")
        return " or ".join(parts)

    def stop_reason(self, begun: int, pool_left: int) -> str:
        """Why no further trial is begun; empty if one may be.

        Args:
            begun: Trials begun so far, those of earlier runs included.
            pool_left: Recipes that were not tried yet.
        """
        if pool_left == 0:
            return f"pool exhausted: all {begun} recipes were tried"
        if self.trials is not None and begun >= self.trials:
            return f"budget: {self.trials} trials"
        if self.budget.minutes is not None and self.minutes >= self.budget.minutes:
            return f"budget: {self.budget.minutes:g} minutes"
        return ""

"""When a search stops, and why."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from autotune.config import Budget
from autotune.device import Device
from autotune.errors import InputError
from autotune.metrics import METRICS, Family
from autotune.search.patience import Patience
from autotune.search.spending import Spending
from autotune.store.records import TrialRecord

DEFAULT_TRIALS = 40
"""Of a study that names no budget and has a larger pool than ``SMALL_POOL``."""

SMALL_POOL = 50
"""So many recipes are all measured where no budget is named."""


def check_budget(
    budget: Budget, device: Device, measured: Sequence[str], why_no_energy: str
) -> None:
    """Refuses a budget that nobody could count.

    Args:
        budget: Of the study.
        device: What it runs on.
        measured: The metrics of its objectives and constraints.
        why_no_energy: Empty where something tells energy.

    Raises:
        InputError: GPU-hours without a GPU, or energy that no trial would measure.
    """
    if budget.gpu_hours is not None and device.kind != "cuda":
        raise InputError(
            f"budget.gpu_hours: {budget.gpu_hours:g} cannot be used up on a {device.kind} device: "
            "it has no GPU; use budget.minutes or budget.trials"
        )
    if budget.kwh is None:
        return
    if why_no_energy:
        raise InputError(f"budget.kwh: {budget.kwh:g} cannot be counted here: {why_no_energy}")
    if not any(METRICS[name].family is Family.ENERGY for name in measured):
        raise InputError(
            f"budget.kwh: {budget.kwh:g} cannot be counted: trials measure their power only where "
            "energy is an objective or a constraint; add energy to the objectives"
        )


@dataclass
class Clock:
    """Counts what a study takes against its budget."""

    budget: Budget
    pool: int
    """How many recipes there are to try."""
    spent: Spending
    patience: Patience | None = None
    """None where the search goes on whether the front grows or not."""
    started: float = field(default_factory=time.monotonic)

    @property
    def trials(self) -> int | None:
        """The limit in trials; a study without any budget has one where its pool is not small."""
        if self.budget.is_given:
            return self.budget.trials
        return None if self.pool <= SMALL_POOL else DEFAULT_TRIALS

    @property
    def minutes(self) -> float:
        """Minutes of this run so far."""
        return (time.monotonic() - self.started) / 60

    def add(self, trial: TrialRecord, gpus: int) -> None:
        """Counts a finished trial, of this run or an earlier one.

        Args:
            trial: With its result; the baseline comes first.
            gpus: How many it took.

        Raises:
            AutotuneError: Its energy is to be counted and cannot be.
        """
        assert trial.result is not None
        self.spent.add(trial.result, gpus)
        if self.patience:
            self.patience.add(trial)

    def describe(self) -> str:
        """The budget in words."""
        parts = [_amount(limit, unit) for _, limit, unit in self._limits(0)]
        if self.patience:
            parts.append(self.patience.describe())
        return " or ".join(parts) or f"all {self.pool} recipes, since no other is given"

    def shares(self, finished: int) -> list[float]:
        """How much of each limit is used up, 0 to 1, the size of the pool among them.

        Args:
            finished: Trials with a result.
        """
        used = [(float(finished), float(self.pool))]
        used += [(spent, limit) for spent, limit, _ in self._limits(finished)]
        return [min(1.0, spent / limit) for spent, limit in used]

    def stop_reason(self, begun: int, pool_left: int) -> str:
        """Why no further trial is begun; empty if one may be.

        Args:
            begun: Trials begun so far, those of earlier runs included.
            pool_left: Recipes that were not tried yet.
        """
        if pool_left == 0:
            return f"pool exhausted: all {begun} recipes were tried"
        for spent, limit, unit in self._limits(begun):
            if spent >= limit:
                told = "" if unit in ("trials", "minutes") else f", {spent:.3g} used"
                return f"budget: {_amount(limit, unit)}{told}"
        return self.patience.reason if self.patience else ""

    def _limits(self, trials: int) -> list[tuple[float, float, str]]:
        """What is used up, the limit and its unit, of each limit that there is."""
        limits = [
            (trials, self.trials, "trials"),
            (self.minutes, self.budget.minutes, "minutes"),
            (self.spent.gpu_seconds / 3600, self.budget.gpu_hours, "GPU-hours"),
            (self.spent.joules / 3.6e6, self.budget.kwh, "kWh"),
        ]
        return [(spent, limit, unit) for spent, limit, unit in limits if limit is not None]


def _amount(limit: float, unit: str) -> str:
    return f"{limit:g} {unit if limit != 1 else unit.removesuffix('s')}"

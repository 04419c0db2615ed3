"""What the trials of a study take of time on GPUs and of energy, as running totals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from autotune.errors import AutotuneError
from autotune.messages import TrialResult

Floats = np.ndarray[Any, np.dtype[np.float64]]

POWER = "avg_power_watts"
"""The metric that energy is counted from."""


@dataclass
class Spending:
    """Totals over the trials of the search; repetitions and tasks are not among them, and neither
    is what an attempt took whose coordinator died."""

    counts_energy: bool = False
    """Whether a trial without a known power is an error."""
    gpu_seconds: float = 0.0
    """Wall-clock seconds of the trials times the GPUs that each held."""
    joules: float = 0.0
    """Each trial's mean power in its energy windows times its wall-clock seconds. One that has
    none (it failed, or ended before) is counted with the baseline's power."""
    _baseline_watts: float | None = None

    def add(self, result: TrialResult, gpus: int) -> None:
        """Counts a finished trial.

        Args:
            result: The baseline's comes first.
            gpus: How many it took.

        Raises:
            AutotuneError: Energy is to be counted, and the baseline's power was not measured.
        """
        seconds = result.device_seconds
        self.gpu_seconds += seconds * gpus
        if self.counts_energy:
            self.joules += seconds * self._watts(result)

    def add_all(self, seconds: Floats, gpus: Floats, watts: Floats) -> None:
        """Counts finished trials after the baseline.

        Args:
            seconds: How long each held its device, ``[n]``.
            gpus: How many it took, ``[n]``.
            watts: Its mean power, ``[n]``; NaN where it has none.
        """
        self.gpu_seconds += float(seconds @ gpus)
        if self.counts_energy:
            assert self._baseline_watts is not None
            known = np.where(np.isfinite(watts), watts, self._baseline_watts)
            self.joules += float(seconds @ known)

    def _watts(self, result: TrialResult) -> float:
        measured = result.metrics.get(POWER)
        watts = measured.value if measured else None
        if self._baseline_watts is None:
            if watts is None:
                why = measured.reason if measured else "it has no energy windows"
                raise AutotuneError(
                    "budget.kwh cannot be counted, the baseline's power was not measured: "
                    f"{why}; mend the meter, or leave budget.kwh out, and go on with --resume"
                )
            self._baseline_watts = watts
        return self._baseline_watts if watts is None else watts

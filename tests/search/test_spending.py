"""What trials take, as totals."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.errors import AutotuneError
from autotune.messages import Measurement, TrialResult
from autotune.outcome import Outcome
from autotune.search.spending import Spending
from autotune.testing import fake_result, fake_spec


def result(seconds: float, watts: float | None, number: int = 0) -> TrialResult:
    known = {} if watts is None else {"avg_power_watts": watts}
    phases = {"lock": 500.0, "prepare": seconds / 2, "measure": seconds / 2}
    return fake_result(fake_spec(number), **known).model_copy(update={"phase_seconds": phases})


def test_gpu_seconds_are_wall_clock_times_gpus_without_the_wait_for_the_device() -> None:
    spent = Spending()
    for seconds, gpus in ((100, 1), (30, 4)):
        spent.add(result(seconds, None), gpus)
    assert (spent.gpu_seconds, spent.joules) == (220, 0)


def test_energy_is_each_trials_power_times_its_time() -> None:
    spent = Spending(counts_energy=True)
    for seconds, watts in ((10, 50), (20, 100)):
        spent.add(result(seconds, watts), 1)
    assert spent.joules == 10 * 50 + 20 * 100


def test_trial_without_power_is_counted_with_the_baselines() -> None:
    spent = Spending(counts_energy=True)
    spent.add(result(10, 50), 1)
    failed = result(4, None, 1).model_copy(update={"outcome": Outcome.CRASHED})
    spent.add(failed, 1)
    assert spent.joules == 14 * 50


def test_many_trials_are_counted_as_each_by_itself() -> None:
    spent = Spending(counts_energy=True)
    spent.add(result(10, 50), 1)
    spent.add_all(np.array([10.0, 20.0]), np.array([1.0, 2.0]), np.array([100.0, np.nan]))
    assert (spent.gpu_seconds, spent.joules) == (60, 10 * 50 + 10 * 100 + 20 * 50)


def test_baseline_without_power_is_an_error_that_says_why() -> None:
    broken = result(10, None)
    null = Measurement.unavailable("W", "the counter stood still")
    broken = broken.model_copy(update={"metrics": {"avg_power_watts": null}})
    with pytest.raises(AutotuneError, match=r"budget\.kwh .*: the counter stood still; mend"):
        Spending(counts_energy=True).add(broken, 1)

"""Whole searches that stop for another reason than trials or minutes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune.errors import AutotuneError
from autotune.messages import TrialResult, TrialSpec
from autotune.testing import fake_result

SMALL = ("compile", "batch")
"""Plugins of a pool of eight recipes."""


def timed(lab: Any, seconds: float, watts: float) -> Callable[[TrialSpec], TrialResult]:
    """Trials of one length and power, as their results say."""

    def run(spec: TrialSpec) -> TrialResult:
        result: TrialResult = lab.measure(spec)
        power = fake_result(spec, avg_power_watts=watts).metrics
        return result.model_copy(
            update={"metrics": result.metrics | power, "phase_seconds": {"measure": seconds}}
        )

    return run


def test_gpu_hours_of_all_runs_stop_the_search_and_more_let_it_go_on(lab: Any) -> None:
    run = timed(lab, 1800, 100)
    study = lab.search(lab.plan(*SMALL, budget={"gpu_hours": 1.2}), run)
    assert study.convergence_reason == "budget: 1.2 GPU-hours, 1.5 used"
    assert len(lab.trials()) == 3
    study = lab.search(lab.plan(*SMALL, budget={"gpu_hours": 2.2}), run, resume=True)
    assert study.convergence_reason == "budget: 2.2 GPU-hours, 2.5 used"
    assert len(lab.trials()) == 5


def test_energy_of_all_runs_stops_the_search(lab: Any) -> None:
    run = timed(lab, 3600, 100)
    for limit, used, count in ((0.15, "0.2", 2), (0.35, "0.4", 4)):
        study = lab.search(lab.plan(*SMALL, budget={"kwh": limit}), run, resume=count > 2)
        assert study.convergence_reason == f"budget: {limit} kWh, {used} used"
        assert len(lab.trials()) == count


def test_energy_that_the_baseline_does_not_tell_ends_the_search(lab: Any) -> None:
    with pytest.raises(AutotuneError, match="the baseline's power was not measured"):
        lab.search(lab.plan(*SMALL, budget={"kwh": 1}))
    assert lab.trials()[0].result is None


def test_search_stops_when_the_front_does_not_grow_and_more_patience_lets_it_go_on(
    lab: Any,
) -> None:
    def run(spec: TrialSpec) -> TrialResult:
        lab.measure(spec)
        return fake_result(spec, output_tokens_per_second=100, weights_bytes=1e6, kld_mean_nats=0)

    study = lab.search(lab.plan(budget={"patience_trials": 4}), run)
    assert study.convergence_reason.startswith("patience: the hypervolume went from ")
    assert len(lab.trials()) == 5
    lab.search(lab.plan(budget={"patience_trials": 4}), run, resume=True)
    assert len(lab.trials()) == 5
    lab.search(lab.plan(budget={"patience_trials": 6}), run, resume=True)
    assert len(lab.trials()) == 7

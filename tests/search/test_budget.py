"""When a search stops, and what it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from autotune.config import Budget
from autotune.errors import InputError
from autotune.search import budget
from autotune.search.budget import DEFAULT_TRIALS, SMALL_POOL, Clock, check_budget
from autotune.search.spending import Spending
from autotune.testing import fake_device

ClockAt = Callable[..., Clock]
LARGE = SMALL_POOL + 1


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> ClockAt:
    def build(
        minutes: float, limits: dict[str, float], pool: int = LARGE, **spent: float
    ) -> Clock:
        monkeypatch.setattr(budget.time, "monotonic", lambda: 1000 + 60 * minutes)
        return Clock(Budget.model_validate(limits), pool, Spending(**spent), started=1000)

    return build


@pytest.mark.parametrize(
    ("limits", "pool", "words"),
    [
        ({}, LARGE, f"{DEFAULT_TRIALS} trials"),
        ({}, SMALL_POOL, f"all {SMALL_POOL} recipes, since no other is given"),
        ({"trials": 12}, SMALL_POOL, "12 trials"),
        ({"minutes": 1.5}, LARGE, "1.5 minutes"),
        ({"trials": 12, "minutes": 30}, LARGE, "12 trials or 30 minutes"),
        ({"gpu_hours": 2, "kwh": 0.5}, LARGE, "2 GPU-hours or 0.5 kWh"),
    ],
)
def test_describe(clock_at: ClockAt, limits: dict[str, float], pool: int, words: str) -> None:
    assert clock_at(0, limits, pool).describe() == words


@pytest.mark.parametrize(
    ("minutes", "limits", "begun", "left", "reason"),
    [
        (0, {"trials": 5}, 4, 9, ""),
        (0, {"trials": 5}, 5, 9, "budget: 5 trials"),
        (0, {"trials": 5}, 7, 9, "budget: 5 trials"),
        (0, {}, DEFAULT_TRIALS - 1, 9, ""),
        (0, {}, DEFAULT_TRIALS, 9, f"budget: {DEFAULT_TRIALS} trials"),
        (1.99, {"minutes": 2}, 900, 9, ""),
        (2.0, {"minutes": 2}, 1, 9, "budget: 2 minutes"),
        (2.0, {"minutes": 2, "trials": 5}, 5, 9, "budget: 5 trials"),
        (0, {"trials": 50}, 8, 0, "pool exhausted: all 8 recipes were tried"),
        (0, {"patience_trials": 3}, DEFAULT_TRIALS, 9, ""),
    ],
)
def test_stop_reason(
    clock_at: ClockAt,
    minutes: float,
    limits: dict[str, float],
    begun: int,
    left: int,
    reason: str,
) -> None:
    assert clock_at(minutes, limits).stop_reason(begun, left) == reason


def test_small_pool_is_measured_whole_where_no_budget_is_given(clock_at: ClockAt) -> None:
    assert clock_at(0, {}, SMALL_POOL).stop_reason(DEFAULT_TRIALS, 1) == ""


@pytest.mark.parametrize(
    ("limits", "spent", "reason"),
    [
        ({"gpu_hours": 2}, {"gpu_seconds": 7199.0}, ""),
        ({"gpu_hours": 2}, {"gpu_seconds": 7236.0}, "budget: 2 GPU-hours, 2.01 used"),
        ({"kwh": 0.5}, {"joules": 1.79e6}, ""),
        ({"kwh": 0.5}, {"joules": 1.8e6}, "budget: 0.5 kWh, 0.5 used"),
    ],
)
def test_what_was_spent_stops_it(
    clock_at: ClockAt, limits: dict[str, float], spent: dict[str, float], reason: str
) -> None:
    assert clock_at(0, limits, **spent).stop_reason(1, 9) == reason


def test_shares_of_each_limit(clock_at: ClockAt) -> None:
    clock = clock_at(5, {"trials": 20, "minutes": 10, "gpu_hours": 1}, 100, gpu_seconds=900.0)
    assert clock.shares(10) == [0.1, 0.5, 0.5, 0.25]


OUTPUT, ENERGY = "output_tokens_per_second", "energy_per_output_token_joules"


@pytest.mark.parametrize(
    ("kind", "measured", "why_no_energy", "given", "words"),
    [
        ("cpu", [ENERGY], "", {"gpu_hours": 2}, "budget.gpu_hours: 2 cannot .* no GPU; use"),
        ("cpu", [OUTPUT], "no RAPL", {"kwh": 2}, "budget.kwh: 2 cannot be counted here: no RAPL"),
        ("cuda", [OUTPUT], "", {"kwh": 2}, "add energy to the objectives"),
    ],
)
def test_budget_that_nobody_could_count_is_refused(
    kind: Any, measured: list[str], why_no_energy: str, given: dict[str, float], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        check_budget(Budget.model_validate(given), fake_device(kind), measured, why_no_energy)


def test_budget_that_can_be_counted_is_taken() -> None:
    check_budget(Budget(gpu_hours=1, kwh=1), fake_device("cuda"), [OUTPUT, ENERGY], "")

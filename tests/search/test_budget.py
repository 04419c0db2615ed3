"""When a search stops, and what it says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autotune.config import Budget
from autotune.search import budget
from autotune.search.budget import DEFAULT_TRIALS, Clock

ClockAt = Callable[[float, dict[str, float]], Clock]


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> ClockAt:
    def build(minutes: float, limits: dict[str, float]) -> Clock:
        monkeypatch.setattr(budget.time, "monotonic", lambda: 1000 + 60 * minutes)
        return Clock(Budget.model_validate(limits), started=1000)

    return build


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, f"{DEFAULT_TRIALS} trials"),
        ({"trials": 12}, "12 trials"),
        ({"minutes": 1.5}, "1.5 minutes"),
        ({"trials": 12, "minutes": 30}, "12 trials or 30 minutes"),
    ],
)
def test_describe(clock_at: ClockAt, limits: dict[str, float], words: str) -> None:
    assert clock_at(0, limits).describe() == words


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
    clock: Clock = clock_at(minutes, limits)
    assert clock.stop_reason(begun, left) == reason

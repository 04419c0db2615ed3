"""The front of a search that goes on, against the front of all its trials."""

from __future__ import annotations

import random

import pytest

from autotune.front import FrontPoint, HypervolumeScale, RunningFront, front, hypervolume
from autotune.messages import Measurement

SPEED, MEMORY = "output_tokens_per_second", "device_peak_process_bytes"
OBJECTIVES = (SPEED, MEMORY, "kld_mean_nats")


def point(number: int, *values: float | None, feasible: bool = True) -> FrontPoint:
    """A trial with values of the objectives; 0 is the baseline."""
    metrics = {
        name: Measurement(
            value=value,
            unit="",
            ci_low=value and 0.98 * value,
            ci_high=value and 1.02 * value,
            reason="" if value is not None else "not here",
        )
        for name, value in zip(OBJECTIVES, values, strict=False)
    }
    recipe = {"batch": {"size": number}} if number else {}
    return FrontPoint(number, recipe, metrics, feasible)


def cloud(seed: int) -> list[FrontPoint]:
    """The baseline and random points; some are infeasible, some values are missing."""
    rng = random.Random(seed)

    def value(low: float, high: float) -> float | None:
        return None if rng.random() < 0.05 else rng.uniform(low, high)

    others = [
        point(n, value(50, 500), value(1e8, 1e9), value(0, 1), feasible=rng.random() < 0.9)
        for n in range(1, 120)
    ]
    return [point(0, 100.0, 5e8, 0.0), *others]


@pytest.mark.parametrize("seed", range(8))
def test_it_ends_as_the_front_of_all(seed: int) -> None:
    points = cloud(seed)
    running = RunningFront(OBJECTIVES, {})
    joined = {p.number for p in points if running.add(p)}
    best = [p.number for p in front(points, OBJECTIVES)]
    assert running.numbers == best
    assert running.size == len(best)
    assert joined >= set(best)
    kept = [p for p in points if p.number in best]
    scale = HypervolumeScale.of(points[0].metrics, OBJECTIVES)
    assert running.hypervolume() == pytest.approx(hypervolume([points[0], *kept], scale))


def test_only_what_can_still_be_beaten_is_kept() -> None:
    running = RunningFront((SPEED,), {})
    for number in range(50):
        assert running.add(point(number, 1.5**number))
    assert running.numbers == [49]
    assert len(running._numbers) == 2, "the latest and the baseline"


def test_infeasible_points_are_no_rivals() -> None:
    running = RunningFront((SPEED,), {})
    assert not running.add(point(0, 100.0, feasible=False))
    assert not running.add(point(1, 900.0, feasible=False))
    assert running.add(point(2, 1.0))
    assert running.numbers == [2]

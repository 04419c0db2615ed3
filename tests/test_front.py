"""Dominance, front, hypervolume and picks, on made-up clouds of points."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace

import moocore
import numpy as np
import pytest

from autotune.front import (
    PICKS,
    FrontPoint,
    HypervolumeScale,
    bounds_of,
    dominates,
    front,
    hypervolume,
    hypervolume_history,
    picks,
    ties,
)
from autotune.messages import Grade, Measurement, Metrics, RecipeDict
from autotune.metrics import metric

SPEED, MEMORY = "output_tokens_per_second", "device_peak_process_bytes"
ENERGY, LOSS = "energy_per_output_token_joules", "kld_mean_nats"
OBJECTIVES = (SPEED, MEMORY, ENERGY, LOSS)


def measured(value: float | None, noise_ratio: float = 0.0) -> Measurement:
    if value is None:
        return Measurement(value=None, unit="", reason="not here")
    width = abs(value) * noise_ratio
    return Measurement(value=value, unit="", ci_low=value - width, ci_high=value + width)


def metrics(*values: float | None, noise_ratio: float = 0.0) -> Metrics:
    return {
        name: measured(value, noise_ratio) for name, value in zip(OBJECTIVES, values, strict=False)
    }


def point(number: int, *values: float | None, noise_ratio: float = 0.0) -> FrontPoint:
    recipe: RecipeDict = {"batch": {"size": number}} if number else {}
    return FrontPoint(number, recipe, metrics(*values, noise_ratio=noise_ratio))


def cloud(seed: int, count: int = 80, grid: bool = False) -> list[FrontPoint]:
    """Random points; on a grid there are many exact ties, and some values are null."""
    rng = random.Random(seed)

    def value() -> float | None:
        if rng.random() < 0.05:
            return None
        return float(rng.randint(1, 4)) if grid else rng.uniform(1, 10)

    return [
        point(n, *(value() for _ in OBJECTIVES), noise_ratio=rng.uniform(0, 0.2))
        for n in range(count)
    ]


def numbers(points: list[FrontPoint]) -> list[int]:
    return [p.number for p in points]


CLOUDS = [cloud(seed, grid=grid) for seed in range(6) for grid in (False, True)]


@pytest.mark.parametrize("points", CLOUDS)
def test_front_is_exactly_what_nothing_dominates(points: list[FrontPoint]) -> None:
    expected = [
        p.number
        for p in points
        if not any(dominates(q.metrics, p.metrics, OBJECTIVES) for q in points)
    ]
    assert numbers(front(points, OBJECTIVES)) == expected
    assert expected


@pytest.mark.parametrize("points", CLOUDS)
def test_front_contains_the_plain_front_of_the_rounded_values(points: list[FrontPoint]) -> None:
    kinds = [metric(name) for name in OBJECTIVES]
    signs = np.array([-1, 1, 1, 1])
    values = [[p.value(name) for name in OBJECTIVES] for p in points]
    worst = 1e9
    costs = [
        [
            worst if v is None else math.floor(sign * kind.steps(v)) if kind.ties else sign * v
            for kind, sign, v in zip(kinds, signs, row, strict=True)
        ]
        for row in values
    ]
    plain = moocore.is_nondominated(np.array(costs), keep_weakly=True)
    kept = {p.number for p, keep in zip(points, plain, strict=True) if keep}
    assert kept <= set(numbers(front(points, OBJECTIVES)))


@pytest.mark.parametrize("points", CLOUDS)
def test_dominance_has_no_cycle(points: list[FrontPoint]) -> None:
    left = list(points)
    while left:
        free = front(left, OBJECTIVES)
        assert free, "every point of a cycle would be dominated by another one of it"
        left = [p for p in left if p not in free]


@pytest.mark.parametrize("points", CLOUDS)
def test_front_does_not_depend_on_the_order(points: list[FrontPoint]) -> None:
    shuffled = random.Random(0).sample(points, len(points))
    assert set(numbers(front(shuffled, OBJECTIVES))) == set(numbers(front(points, OBJECTIVES)))


def test_front_crosses_chunks() -> None:
    points = cloud(1, count=700)
    best = point(700, 1e6, 1e-6, 1e-6, 0.0)
    assert numbers(front([*points, best], OBJECTIVES)) == [700]


def test_dominates_needs_more_than_noise() -> None:
    a, b = metrics(105, 1, 1, 0, noise_ratio=0.01), metrics(100, 1, 1, 0, noise_ratio=0.01)
    assert dominates(a, b, OBJECTIVES)
    assert not dominates(b, a, OBJECTIVES)
    noisy = metrics(105, 1, 1, 0, noise_ratio=0.1)
    assert not dominates(noisy, b, OBJECTIVES)


def test_dominates_needs_more_than_the_resolution() -> None:
    one_percent_less = metrics(100, 99.5, 1, 0)
    ten_percent_less = metrics(100, 90, 1, 0)
    b = metrics(100, 100, 1, 0)
    assert not dominates(one_percent_less, b, OBJECTIVES)
    assert dominates(ten_percent_less, b, OBJECTIVES)
    assert not dominates(metrics(100, 100, 1, 0.0), metrics(100, 100, 1, 0.00009), OBJECTIVES)
    assert dominates(metrics(100, 100, 1, 0.0), metrics(100, 100, 1, 0.0002), OBJECTIVES)


def test_losses_too_small_to_be_resolved_are_all_the_same() -> None:
    exact, nearly = metrics(100, 1000, 1, 0.00001), metrics(200, 1000, 1, 0.00008)
    assert dominates(nearly, exact, OBJECTIVES)
    lossy = metrics(200, 1000, 1, 0.00011)
    assert not dominates(lossy, exact, OBJECTIVES)


def test_a_difference_within_the_resolution_does_not_save_a_point() -> None:
    a, b = metrics(200, 50, 1, 0.00004), metrics(100, 49.99, 1, 0.00001)
    assert dominates(a, b, OBJECTIVES)


def test_dominates_never_a_point_that_is_better_somewhere() -> None:
    a, b = metrics(500, 1, 1, 0.02), metrics(100, 9, 9, 0.0199)
    assert not dominates(a, b, OBJECTIVES)


def test_baselines_own_noise_saves_nobody() -> None:
    """Both speeds share the baseline's own uncertainty; only the paired ratio's counts."""
    own = measured(100, 0.2).model_copy(update={"stat": "median", "ratio": 1.0})
    slower = measured(84, 0.05).model_copy(update={"stat": "median_ratio", "ratio": 0.84})
    unsure = measured(84, 0.25).model_copy(update={"stat": "median_ratio", "ratio": 0.84})
    assert dominates({SPEED: own}, {SPEED: slower}, (SPEED,))
    assert not dominates({SPEED: own}, {SPEED: unsure}, (SPEED,))


def test_losses_under_the_baselines_floor_are_ties() -> None:
    floor = {"kld_self_floor_nats": measured(0.004, 0.25)}

    def at(number: int, speed: float, loss: float) -> FrontPoint:
        given = metrics(speed, None, None, loss, noise_ratio=0.01)
        return FrontPoint(number, {"batch": {"size": number}} if number else {}, given | floor)

    baseline, under, above = at(0, 10, 1e-7), at(1, 12, 0.0048), at(2, 11, 0.006)
    assert [p.number for p in front([baseline, under, above], OBJECTIVES)] == [1]
    scale = HypervolumeScale.of(baseline.metrics, (SPEED, LOSS))
    assert picks([baseline, under], (SPEED, LOSS), scale)["most_accurate"] is under
    without = [
        FrontPoint(p.number, p.recipe, p.metrics | {"kld_self_floor_nats": measured(None)})
        for p in (baseline, under)
    ]
    assert len(front(without, OBJECTIVES)) == 2


def test_equal_points_both_stay() -> None:
    twins = [point(1, 10, 1, 1, 0), point(2, 10, 1, 1, 0)]
    assert numbers(front(twins, OBJECTIVES)) == [1, 2]


def test_null_is_the_worst_value() -> None:
    known, unknown = metrics(10, 1, 1, 0), metrics(10, 1, None, 0)
    assert dominates(known, unknown, OBJECTIVES)
    assert not dominates(unknown, known, OBJECTIVES)
    assert not dominates(unknown, unknown, OBJECTIVES)
    assert dominates(known, {}, OBJECTIVES)
    nan = metrics(10, 1, float("nan"), 0)
    assert dominates(known, nan, OBJECTIVES)


def test_front_leaves_out_the_infeasible_and_lets_it_dominate_nothing() -> None:
    better = FrontPoint(1, {}, metrics(99, 1, 1, 0), feasible=False)
    assert numbers(front([better, point(2, 10, 1, 1, 0)], OBJECTIVES)) == [2]
    assert front([], OBJECTIVES) == []


def scale(**bounds: float) -> HypervolumeScale:
    return HypervolumeScale.of(metrics(100, 1000, 1, 0), OBJECTIVES, bounds)


def test_hypervolume_runs_from_reference_to_ideal() -> None:
    assert hypervolume([point(1, 100 / 8, 4000, 4, 1.0)], scale()) == 0.0
    ideal = point(1, 6400, 1000 / 32, 1 / 32, 0.0)
    assert hypervolume([ideal], scale()) == pytest.approx(1.0)
    beyond = point(1, 1e9, 1e-9, -1.0, -0.1)
    assert hypervolume([beyond], scale()) == pytest.approx(1.0)
    assert hypervolume([], scale()) == 0.0


def test_hypervolume_ignores_the_infeasible_and_the_unmeasured() -> None:
    out = FrontPoint(1, {}, metrics(200, 500, 1, 0), feasible=False)
    assert hypervolume([out, point(2, 200, 500, None, 0)], scale()) == 0.0


def test_hypervolume_of_one_point_is_its_own_share() -> None:
    p = point(1, 300, 700, 0.5, 0.1)
    assert hypervolume([p], scale()) == pytest.approx(scale().share(p.metrics))


@pytest.mark.parametrize("points", CLOUDS)
def test_hypervolume_history_never_falls_and_ends_at_the_whole(points: list[FrontPoint]) -> None:
    fixed = HypervolumeScale.of(metrics(4, 4, 4, 0), OBJECTIVES, {LOSS: 10})
    history = hypervolume_history(points, fixed)
    assert len(history) == len(points)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(history))
    assert history[-1] == pytest.approx(hypervolume(points, fixed))


def test_scale_drops_an_objective_without_a_baseline() -> None:
    partial = HypervolumeScale.of(metrics(100, 1000, None, 0), OBJECTIVES)
    assert [axis.metric for axis in partial.axes] == [SPEED, MEMORY, LOSS]
    assert hypervolume([point(1, 100, 1000, 1, 0)], HypervolumeScale(())) == 0.0
    speed_only = HypervolumeScale.of(metrics(100), (SPEED,))
    assert hypervolume([point(1, 100)], speed_only) == pytest.approx(3 / 9)


def test_scale_takes_the_constraint_as_the_reference_of_a_loss() -> None:
    bounds = bounds_of(("kld_mean_nats<=0.05", "output_tokens_per_second >= 1e2", "perplexity>=1"))
    assert bounds == {LOSS: 0.05, SPEED: 100.0}
    assert scale(**bounds).axes[-1].reference == 0.05


def test_picks_name_the_best_of_each_family() -> None:
    points = [
        point(0, 100, 1000, 1.0, 0.0),
        point(1, 400, 900, 0.9, 0.04),
        point(2, 150, 300, 0.8, 0.03),
        point(3, 140, 800, 0.3, 0.02),
        point(4, 130, 950, 1.0, 0.0),
        point(5, 300, 400, 0.5, 0.004),
    ]
    found = picks(points, OBJECTIVES, scale(kld_mean_nats=0.05))
    assert {name: p.number for name, p in found.items()} == {
        "fastest": 1,
        "smallest": 2,
        "greenest": 3,
        "most_accurate": 4,
        "balanced": 5,
    }
    assert list(found) == [pick for pick in PICKS if pick != "smallest_weights"]


def test_ties_of_a_pick_are_the_points_within_noise_or_resolution() -> None:
    points = [
        point(1, 400, 900, 3.0, 0.0100, noise_ratio=0.1),
        point(2, 370, 300, 2.9, 0.0110, noise_ratio=0.1),
        point(3, 200, 302, 1.0, 0.5000),
        point(4, 100, 900, 1.0, 0.0100),
    ]
    found = ties(picks(points, OBJECTIVES, scale()), points, OBJECTIVES)
    assert found == {"fastest": (2,), "smallest": (3,), "greenest": (4,), "most_accurate": (2, 4)}
    points[3] = replace(points[3], fallbacks=("asked for a, ran b",))
    assert "greenest" not in ties(picks(points, OBJECTIVES, scale()), points, OBJECTIVES)
    disturbed = points[1].metrics[SPEED].model_copy(update={"grade": Grade.C})
    points[1] = FrontPoint(2, points[1].recipe, points[1].metrics | {SPEED: disturbed})
    found = ties(picks(points, OBJECTIVES, scale()), points, OBJECTIVES)
    assert "fastest" not in found


def test_disturbed_speed_does_not_decide_between_ties() -> None:
    points = [point(0, 100, 900, 3.0, 0.01), point(1, 800, 900, 3.0, 0.01)]
    found = picks(points, OBJECTIVES, scale(), baseline=points[0])
    assert {found["smallest"].number, found["most_accurate"].number} == {1}
    disturbed = points[1].metrics[SPEED].model_copy(update={"grade": Grade.C})
    points[1] = replace(points[1], metrics=points[1].metrics | {SPEED: disturbed})
    found = picks(points, OBJECTIVES, scale(), baseline=points[0])
    assert {pick.number for pick in found.values()} == {0}


def test_smallest_is_smaller_than_the_baseline_where_any_is() -> None:
    """6 MiB ties with 3 MiB and with 9 MiB, and yet 3 MiB is less than 9 MiB."""
    name, mib = "host_model_peak_bytes", 1 << 20
    sizes = {0: (100, 9 * mib), 1: (300, 6 * mib), 2: (200, 3 * mib)}
    points = [
        FrontPoint(n, {"p": {}} if n else {}, {SPEED: measured(speed), name: measured(size)})
        for n, (speed, size) in sizes.items()
    ]
    own = HypervolumeScale.of(points[0].metrics, (SPEED, name))
    found = picks(points, (SPEED, name), own, baseline=points[0])
    assert (found["fastest"].number, found["smallest"].number) == (1, 2)
    # Where nothing can be told from the baseline, the fastest of the ties is the pick.
    found = picks(points[:2], (SPEED, name), own, baseline=points[0])
    assert found["smallest"].number == 1


def test_what_shows_no_effect_is_left_out_of_a_pick() -> None:
    both: RecipeDict = {"attention": {"kernel": "eager"}, "batch": {"size": 16}}
    points = [
        FrontPoint(1, both, metrics(400, 900, 1.0, 0.0, noise_ratio=0.1)),
        FrontPoint(2, {"batch": {"size": 16}}, metrics(390, 900, 1.0, 0.0, noise_ratio=0.1)),
        FrontPoint(3, {"batch": {"size": 8}}, metrics(395, 900, 1.0, 0.0, noise_ratio=0.1)),
    ]
    assert picks(points, OBJECTIVES, scale())["most_accurate"].number == 2
    faster = replace(points[0], metrics=metrics(900, 900, 1.0, 0.0, noise_ratio=0.1))
    assert picks([faster, *points[1:]], OBJECTIVES, scale())["most_accurate"].number == 1


def test_weights_as_an_objective_of_their_own_have_a_pick() -> None:
    weights = Measurement(value=10.0, unit="B")
    light = point(1, 100, 900, 1.0, 0.0)
    light = FrontPoint(1, light.recipe, light.metrics | {"weights_bytes": weights})
    heavy = point(2, 400, 300, 1.0, 0.0)
    heavier = weights.model_copy(update={"value": 20.0})
    heavy = FrontPoint(2, heavy.recipe, heavy.metrics | {"weights_bytes": heavier})

    found = picks([light, heavy], (*OBJECTIVES, "weights_bytes"), scale())

    assert (found["smallest"].number, found["smallest_weights"].number) == (2, 1)


def test_picks_prefer_anything_to_the_baseline_among_ties() -> None:
    found = picks([point(0, 100, 1000, 1, 0), point(1, 100, 1000, 1, 0)], OBJECTIVES, scale())
    assert {p.number for p in found.values()} == {1}


def test_picks_of_the_baseline_alone_are_the_baseline() -> None:
    found = picks([point(0, 100, 1000, 1, 0)], OBJECTIVES, scale())
    assert {p.number for p in found.values()} == {0}


def test_picks_leave_out_what_was_not_measured() -> None:
    points = [point(0, 100, 1000, None, None)]
    assert set(picks(points, (SPEED,), HypervolumeScale.of(points[0].metrics, (SPEED,)))) == {
        "fastest"
    }
    assert picks([], OBJECTIVES, scale()) == {}
    infeasible = FrontPoint(1, {}, metrics(100, 1000, 1, 0), feasible=False)
    assert picks([infeasible], OBJECTIVES, scale()) == {}


def test_picks_leave_out_what_ran_otherwise_than_asked() -> None:
    fastest = FrontPoint(1, {"p": {}}, metrics(300, 1000, 1, 0), fallbacks=("asked for x",))
    assert picks([fastest, point(2, 200, 1000, 1, 0)], (SPEED,), scale())["fastest"].number == 2
    assert picks([fastest], OBJECTIVES, scale()) == {}


def test_smallest_falls_back_to_the_weights() -> None:
    small = FrontPoint(1, {"q": {}}, {"weights_bytes": measured(10)})
    large = FrontPoint(2, {"p": {}}, {"weights_bytes": measured(20)})
    assert picks([large, small], (SPEED,), scale())["smallest"] is small

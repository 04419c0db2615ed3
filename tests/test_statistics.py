"""Intervals keep what they promise, by simulation with fixed seeds."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from autotune.statistics import (
    Interval,
    clustered_mean,
    fewest_for_quantile,
    median_interval,
    paired_ratio,
    quantile_interval,
    share_interval,
    typical_spread,
)

Draw = Callable[[np.random.Generator, int], np.ndarray]
DRAWS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda g, n: g.normal(5.0, 1.0, n), 5.0),
    "skewed": (lambda g, n: g.lognormal(0.0, 1.0, n), 1.0),
}


@pytest.mark.parametrize("shape", DRAWS)
@pytest.mark.parametrize("n", [6, 11])
def test_median_interval_covers_the_median(shape: str, n: int) -> None:
    """At least 95 %; 150 simulations have a standard error of 1.8 %."""
    draw, median = DRAWS[shape]
    generator = np.random.default_rng(n)
    found = [median_interval(draw(generator, n).tolist()) for _ in range(150)]
    assert np.mean([i.low <= median <= i.high for i in found]) >= 0.92


@pytest.mark.parametrize("n", [1, 2, 5])
def test_median_interval_of_few_values_is_their_range(n: int) -> None:
    values = [3.0, 1.0, 2.0, 5.0, 4.0][:n]
    found = median_interval(values)
    assert (found.low, found.high, found.n) == (min(values), max(values), n)


def test_quantile_interval_covers_the_quantile() -> None:
    generator = np.random.default_rng(6)
    found = [quantile_interval(generator.random(60).tolist(), 0.9) for _ in range(150)]
    assert np.mean([i.low <= 0.9 <= i.high for i in found]) >= 0.92


def test_intervals_are_those_of_scipy_stats() -> None:
    for n in (6, 7, 25, 60, 400):
        values = np.random.default_rng(n).normal(size=n).tolist()
        for quantile in (0.1, 0.5, 0.9, 0.99):
            own = quantile_interval(values, quantile)
            theirs = stats.quantile_test(values, p=quantile).confidence_interval(0.95)
            np.testing.assert_equal((own.low, own.high), (theirs.low, theirs.high))
        for successes in (0, 1, n // 2, n):
            told = stats.binomtest(successes, n).proportion_ci(method="wilson")
            found = share_interval(successes, n)
            assert (found.low, found.high) == pytest.approx((told.low, told.high), abs=1e-12)
        mean = clustered_mean(values)
        told = stats.ttest_1samp(values, 0).confidence_interval(0.95)
        assert (mean.low, mean.high) == pytest.approx((told.low, told.high))
    groups = [[1.0, 2.0], [3.0, 5.0, 4.0]]
    shares = [0.5 / stats.chi2.ppf(0.5, 1), 2 / stats.chi2.ppf(0.5, 2)]
    found = typical_spread(groups)
    assert found is not None
    assert found.deviation == pytest.approx(math.sqrt(np.median(shares)))


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9, 0.99])
def test_fewest_values_for_a_quantile_are_those_that_scipy_needs(quantile: float) -> None:
    fewest = fewest_for_quantile(quantile)
    side = "high" if quantile >= 0.5 else "low"
    ends = [
        getattr(quantile_interval(list(np.linspace(0, 1, n)), quantile), side)
        for n in (fewest - 1, fewest)
    ]
    assert math.isnan(ends[0])
    assert math.isfinite(ends[1])


def test_median_interval_contains_its_value_and_ignores_order() -> None:
    values = list(np.random.default_rng(1).normal(size=15))
    found = median_interval(values)
    assert found.low <= found.value <= found.high
    assert found == median_interval(values[::-1])
    assert min(values) < found.low
    assert found.high < max(values)


def test_median_interval_of_equal_values_is_exact() -> None:
    assert median_interval([2.0] * 8) == Interval(2.0, 2.0, 2.0, 8)


def test_median_interval_shrugs_off_an_outlier() -> None:
    values = [1.0, 1.01, 0.99, 1.0, 1.02, 0.98, 1.0, 1.01, 1.0]
    assert median_interval([*values, 100.0]).high < 1.1


def test_paired_ratio_removes_what_both_share() -> None:
    generator = np.random.default_rng(2)
    drift = np.linspace(1.0, 3.0, 12)
    reference = drift * generator.lognormal(0.0, 0.01, 12)
    candidate = 2.0 * drift * generator.lognormal(0.0, 0.01, 12)
    found = paired_ratio(candidate.tolist(), reference.tolist())
    assert found.value == pytest.approx(2.0, rel=0.01)
    assert found.half_width_ratio < 0.02
    assert found.n == 12


def test_paired_ratio_is_symmetric() -> None:
    candidate, reference = [2.0, 4.0, 8.0, 3.0, 5.0, 7.0], [1.0, 3.0, 5.0, 2.0, 2.0, 3.0]
    there, back = paired_ratio(candidate, reference), paired_ratio(reference, candidate)
    assert there.value * back.value == pytest.approx(1.0)
    assert there.low * back.high == pytest.approx(1.0)


def test_paired_ratio_of_one_thing_covers_one() -> None:
    generator = np.random.default_rng(3)
    covered = []
    for _ in range(150):
        blocks = generator.lognormal(0.0, 0.2, (2, 8)).tolist()
        found = paired_ratio(*blocks)
        covered.append(found.low <= 1 <= found.high)
    assert np.mean(covered) >= 0.92


def test_paired_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio([1.0, 2.0], [1.0])


def test_clustered_mean_covers_the_mean() -> None:
    generator = np.random.default_rng(4)
    found = [clustered_mean(generator.normal(1.0, 0.5, 10).tolist()) for _ in range(600)]
    assert 0.92 <= np.mean([i.low <= 1.0 <= i.high for i in found]) <= 0.98


def test_clustered_mean_by_hand() -> None:
    found = clustered_mean([1.0, 2.0, 3.0])
    # Student's t with 2 degrees of freedom at 97.5 % is 4.302653.
    assert found.value == 2.0
    assert found.high - found.value == pytest.approx(4.302653 / math.sqrt(3), rel=1e-6)


def test_clustered_mean_of_one_cluster_has_no_width() -> None:
    assert clustered_mean([2.5]) == Interval(2.5, 2.5, 2.5, 1)


def test_half_width_ratio() -> None:
    assert Interval(10.0, 9.0, 11.0, 6).half_width_ratio == pytest.approx(0.1)
    assert Interval(-10.0, -11.0, -9.0, 6).half_width_ratio == pytest.approx(0.1)
    assert Interval(0.0, 0.0, 0.0, 6).half_width_ratio == math.inf

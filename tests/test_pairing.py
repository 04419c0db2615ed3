"""Paired differences against published numbers, and against their promised coverage."""

from __future__ import annotations

import itertools
import math

import pytest
from scipy.stats import norm

from autotune.pairing import mcnemar, paired_difference


def test_difference_and_p_value_of_a_published_table() -> None:
    """21 children, 1 better and 7 worse after treatment: Fagerland, Lydersen and Laake (2014)
    give the score interval -0.517 to -0.026 and the exact p-value 0.070."""
    found = paired_difference(1, 7, 21)
    assert found.value == pytest.approx(-6 / 21)
    assert found.low == pytest.approx(-0.517, abs=5e-4)
    assert found.high == pytest.approx(-0.026, abs=5e-4)
    assert found.n == 21
    assert mcnemar(1, 7) == pytest.approx(0.0703, abs=5e-5)


def test_interval_where_nothing_changed_has_a_width() -> None:
    z = float(norm.ppf(0.975))
    found = paired_difference(0, 0, 100)
    assert (found.value, mcnemar(0, 0)) == (0, 1)
    assert found.high == pytest.approx(z * z / (100 + z * z))
    assert found.low == pytest.approx(-found.high)


@pytest.mark.parametrize(("gained", "lost", "n"), [(0, 5, 5), (5, 0, 5), (0, 1, 1), (3, 2, 5)])
def test_interval_stays_between_its_ends(gained: int, lost: int, n: int) -> None:
    found = paired_difference(gained, lost, n)
    assert -1 <= found.low <= found.value <= found.high <= 1
    mirrored = paired_difference(lost, gained, n)
    assert mirrored.low == pytest.approx(-found.high)
    assert mirrored.high == pytest.approx(-found.low)


@pytest.mark.parametrize(("gain", "loss"), [(0.05, 0.05), (0.02, 0.1), (0.2, 0.1), (0.0, 0.03)])
def test_interval_covers_the_truth_as_often_as_it_says(gain: float, loss: float) -> None:
    """Summed over all outcomes of 60 items, not sampled."""
    n, covered = 60, 0.0
    for gained, lost in itertools.product(range(n + 1), repeat=2):
        if gained + lost > n or (likely := _likelihood(gained, lost, n, gain, loss)) < 1e-9:
            continue
        found = paired_difference(gained, lost, n)
        covered += likely * (found.low <= gain - loss <= found.high)
    assert covered > 0.93


def _likelihood(gained: int, lost: int, n: int, gain: float, loss: float) -> float:
    same = n - gained - lost
    ways = math.comb(n, gained) * math.comb(n - gained, lost)
    return float(ways * gain**gained * loss**lost * (1 - gain - loss) ** same)


def test_p_value_is_that_of_the_binomial_sum() -> None:
    assert mcnemar(2, 8) == pytest.approx(2 * sum(math.comb(10, k) for k in range(3)) / 2**10)
    assert mcnemar(4, 4) == 1

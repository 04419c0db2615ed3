"""How much hypervolume a candidate is expected to add."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from autotune.surrogate import improvement
from autotune.surrogate.improvement import expected_improvement, front_scale, not_dominated


def front_of(count: int, metrics: int, seed: int = 0) -> np.ndarray:
    losses = np.random.default_rng(seed).random((count, metrics))
    return np.asarray(losses[not_dominated(losses)])


def added(front: np.ndarray, losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The improvement itself, by another library."""
    before = moocore.hypervolume(front, ref=reference) if len(front) else 0.0
    return np.array(
        [moocore.hypervolume(np.vstack([front, row]), ref=reference) - before for row in losses]
    )


@pytest.mark.parametrize("metrics", [1, 2, 3, 4])
@pytest.mark.parametrize("count", [1, 12])
def test_without_uncertainty_it_is_the_improvement(metrics: int, count: int) -> None:
    front, reference = front_of(count, metrics), np.full(metrics, 1.1)
    candidates = np.random.default_rng(1).random((30, metrics)) * 1.2
    found = expected_improvement(candidates, np.full(candidates.shape, 1e-9), front, reference)
    assert found == pytest.approx(added(front, candidates, reference), abs=1e-6)


@pytest.mark.parametrize("metrics", [2, 3])
def test_with_uncertainty_it_is_the_mean_of_draws(metrics: int) -> None:
    front, reference = front_of(8, metrics), np.full(metrics, 1.1)
    random = np.random.default_rng(2)
    means, deviations = random.random((4, metrics)), 0.05 + 0.2 * random.random((4, metrics))
    found = expected_improvement(means, deviations, front, reference)
    for k in range(4):
        draws = random.normal(means[k], deviations[k], (4000, metrics))
        sample = added(front, draws, reference)
        assert found[k] == pytest.approx(sample.mean(), abs=5 * sample.std() / 4000**0.5)


def test_without_a_front_it_is_the_box_to_the_reference() -> None:
    found = expected_improvement(
        np.array([[0.25, 0.5]]), np.full((1, 2), 1e-9), np.empty((0, 2)), np.ones(2)
    )
    assert found == pytest.approx([0.75 * 0.5])


def test_points_beyond_the_reference_are_no_front() -> None:
    front = np.array([[0.5, 0.5], [0.1, 3.0]])
    inside = expected_improvement(np.array([[0.2, 0.9]]), np.full((1, 2), 1e-9), front, np.ones(2))
    assert inside == pytest.approx(added(front[:1], np.array([[0.2, 0.9]]), np.ones(2)))


@pytest.mark.parametrize("metrics", [2, 4])
def test_front_with_too_many_points_is_thinned(
    monkeypatch: pytest.MonkeyPatch, metrics: int
) -> None:
    front, reference = front_of(200, metrics), np.ones(metrics)
    means = np.random.default_rng(1).random((20, metrics))
    deviations = np.full(means.shape, 0.05)
    monkeypatch.setattr(improvement, "_MOST_POINTS", (10_000,))
    exact = expected_improvement(means, deviations, front, reference)
    monkeypatch.setattr(improvement, "_MOST_POINTS", (12,))
    rough = expected_improvement(means, deviations, front, reference)
    assert (rough >= exact - 1e-12).all()
    assert rough.max() < 1.5 * exact.max() + 0.02
    assert np.corrcoef(rough, exact)[0, 1] > 0.95


def test_not_dominated_keeps_equal_rows() -> None:
    losses = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    assert not_dominated(losses).tolist() == [True, True, True, False]


def test_scale_is_that_of_the_front_but_a_tenth_of_all_at_least() -> None:
    losses = np.array([[1.0, 5.0], [3.0, 5.0], [2.0, 4.9], [9.0, 9.0]])
    every = np.vstack([losses, [[1.0, 25.0]]])
    ideal, width = front_scale(losses, every)
    assert ideal.tolist() == [1.0, 4.9]
    assert width == pytest.approx([1.0, 2.01])

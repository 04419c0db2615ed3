"""What is expected of a row that was not measured."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.surrogate.gaussian_process import GaussianProcess, Kernel


def drawn(count: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, columns))


def groups(columns: int) -> np.ndarray:
    return np.arange(columns, dtype=np.intp)


def smooth(rows: np.ndarray) -> np.ndarray:
    """Two columns matter, the third does not."""
    return np.asarray(5 + 2 * np.sin(3 * rows[:, 0]) + rows[:, 1])


def test_it_goes_through_what_was_measured_exactly() -> None:
    rows = drawn(25, 3)
    means, deviations = GaussianProcess(rows, smooth(rows), groups(3)).predict(rows)
    assert means == pytest.approx(smooth(rows), abs=0.1)
    assert (deviations < 0.2).all()


def test_its_intervals_hold_for_rows_it_never_saw() -> None:
    rows, others = drawn(40, 3), drawn(400, 3, seed=1)
    means, deviations = GaussianProcess(rows, smooth(rows), groups(3)).predict(others)
    error = np.abs(means - smooth(others))
    assert error.mean() < 0.1
    assert (error < 2.6 * deviations).mean() > 0.95


def test_param_that_does_not_matter_gets_a_long_length() -> None:
    rows = drawn(40, 3)
    lengths = GaussianProcess(rows, smooth(rows), groups(3)).kernel.lengths
    assert lengths[2] > lengths[0] + 1


def test_columns_of_one_group_share_a_length() -> None:
    rows = drawn(30, 3)
    kernel = GaussianProcess(rows, smooth(rows), np.array([0, 0, 1])).kernel
    assert len(kernel.lengths) == 2


def test_far_from_all_rows_it_knows_nothing() -> None:
    rows = 0.05 * drawn(20, 2)
    values = smooth(rows)
    process = GaussianProcess(rows, values, groups(2))
    _, near = process.predict(rows[:1])
    _, far = process.predict(np.array([[1.0, 1.0]]))
    assert far[0] > 10 * near[0]


def test_values_with_large_errors_pull_less() -> None:
    rows = np.array([[0.0], [0.5], [0.5001], [1.0]])
    values = np.array([0.0, 0.0, 4.0, 0.0])
    kernel = Kernel.prior(1)
    trusted, doubted = (
        GaussianProcess(
            rows, values, groups(1), noise=np.array([0, 0, error, 0.0]), kernel=kernel, fit=False
        ).predict(np.array([[0.5]]))[0][0]
        for error in (0.0, 10.0)
    )
    assert trusted == pytest.approx(2.0, abs=0.3)
    assert doubted == pytest.approx(0.0, abs=0.3)


def test_noise_is_found_where_equal_rows_differ() -> None:
    rows = np.repeat(drawn(15, 2), 3, axis=0)
    noisy = smooth(rows) + np.random.default_rng(2).normal(0, 0.5, len(rows))
    exact = GaussianProcess(rows, smooth(rows), groups(2)).kernel.noise
    assert GaussianProcess(rows, noisy, groups(2)).kernel.noise > exact + 1


@pytest.mark.parametrize("values", [[3.0, 3.0, 3.0], [3.0]])
def test_values_that_do_not_differ(values: list[float]) -> None:
    rows = drawn(len(values), 2)
    means, deviations = GaussianProcess(rows, np.array(values), groups(2)).predict(drawn(5, 2, 1))
    assert means == pytest.approx(np.full(5, 3.0), abs=1e-6)
    assert (deviations > 0).all()


def test_rows_without_columns_have_the_mean() -> None:
    process = GaussianProcess(np.zeros((3, 0)), np.array([1.0, 2.0, 3.0]), groups(0))
    means, _ = process.predict(np.zeros((2, 0)))
    assert means == pytest.approx([2.0, 2.0], abs=0.1)


def test_gradient_is_that_of_the_loss() -> None:
    rows = drawn(12, 3)
    process = GaussianProcess(rows, smooth(rows), groups(3), fit=False)
    squares = process._squares()
    at = np.array([0.3, -0.2, 0.1, 0.4, -3.0])
    middle, spreads = np.zeros(5), np.full(5, 1.2)
    _, gradient = process._loss(at, squares, middle, spreads)
    for k in range(len(at)):
        step = np.zeros(5)
        step[k] = 1e-5
        ends = [process._loss(at + s, squares, middle, spreads)[0] for s in (step, -step)]
        assert gradient[k] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-4, abs=1e-5)

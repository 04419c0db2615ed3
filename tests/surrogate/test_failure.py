"""How likely a row is to fail."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.surrogate.failure import FailureModel


def test_threshold_on_a_sum_is_found() -> None:
    rows = np.random.default_rng(0).random((60, 3))
    others = np.random.default_rng(1).random((300, 3))
    model = FailureModel(rows, rows[:, 0] + rows[:, 1] > 1.3)
    fails = others[:, 0] + others[:, 1] > 1.3
    far = np.abs(others[:, 0] + others[:, 1] - 1.3) > 0.3
    assert ((model.chance(others) > 0.5) == fails)[far].mean() > 0.98


def test_border_with_a_bend_is_found() -> None:
    rows = np.random.default_rng(0).random((200, 2))
    others = np.random.default_rng(1).random((300, 2))
    model = FailureModel(rows, rows.max(axis=1) > 0.7)
    fails, far = others.max(axis=1) > 0.7, np.abs(others.max(axis=1) - 0.7) > 0.1
    assert ((model.chance(others) > 0.5) == fails)[far].mean() > 0.98


def test_of_many_rows_some_are_learnt_from() -> None:
    rows = np.random.default_rng(0).random((3000, 2))
    chances = FailureModel(rows, rows[:, 0] > 0.5).chance(np.array([[0.9, 0.5], [0.1, 0.5]]))
    assert chances[0] > 0.95
    assert chances[1] < 0.05


def test_the_fewer_rows_the_less_sure() -> None:
    rows = np.random.default_rng(0).random((60, 2))
    fails = rows[:, 0] > 0.5
    corner = np.array([[1.0, 0.5]])
    few, many = (FailureModel(rows[:n], fails[:n]).chance(corner)[0] for n in (6, 60))
    assert 0.5 < few < many


def test_value_that_always_fails() -> None:
    rows = np.array([[0.0, 0.1], [0.0, 0.9], [1.0, 0.2], [1.0, 0.8], [0.0, 0.5], [1.0, 0.5]])
    chances = FailureModel(rows, rows[:, 0] == 1).chance(np.array([[0.0, 0.4], [1.0, 0.6]]))
    assert chances[0] < 0.3
    assert chances[1] > 0.7


@pytest.mark.parametrize("failed", [True, False])
def test_one_kind_alone_is_expected_everywhere(failed: bool) -> None:
    rows = np.random.default_rng(0).random((10, 2))
    chances = FailureModel(rows, np.full(10, failed)).chance(rows)
    assert ((chances > 0.5) == failed).all()

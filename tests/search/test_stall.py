"""Whether a search still finds anything."""

from __future__ import annotations

import numpy as np
import pytest

from autotune.search.stall import is_stalled

EXACT = np.zeros(2)


def test_without_earlier_trials_nothing_is_stalled() -> None:
    alike = np.ones((3, 2))
    assert not is_stalled(np.empty((0, 2)), EXACT, 3)
    assert not is_stalled(alike, EXACT, 3)
    assert is_stalled(alike, EXACT, 2)


@pytest.mark.parametrize(
    ("latest", "stalled"),
    [((2.0, 3.0), True), ((1.0, 2.0), True), ((0.9, 9.0), False), ((9.0, 1.9), False)],
)
def test_what_is_better_in_some_objective_than_each_before_is_new(
    latest: tuple[float, float], stalled: bool
) -> None:
    losses = np.array([(1.0, 2.0), latest, (5.0, 5.0)])
    assert is_stalled(losses, EXACT, 2) is stalled


def test_what_was_new_in_its_time_counts_though_it_is_beaten_later() -> None:
    losses = np.array([(3.0, 3.0), (2.0, 2.0), (1.0, 1.0), (4.0, 4.0)])
    assert not is_stalled(losses, EXACT, 2)
    assert is_stalled(losses, EXACT, 1)


def test_differences_within_the_error_are_nothing_new() -> None:
    losses = np.array([(1.0, 1.0), (0.95, 1.0), (1.0, 0.7)])
    assert not is_stalled(losses, EXACT, 2)
    assert not is_stalled(losses, np.array([0.1, 0.1]), 2)
    assert is_stalled(losses, np.array([0.1, 0.4]), 2)


def test_what_is_as_good_as_new_beside_one_may_be_no_better_than_another() -> None:
    losses = np.array([(1.0, 9.0), (9.0, 1.0), (2.0, 8.0), (9.0, 2.0)])
    assert not is_stalled(losses, EXACT, 2)  # between the two
    assert is_stalled(losses, EXACT, 1)

"""What each outcome teaches the sampler."""

from __future__ import annotations

import pytest

from autotune.outcome import Lesson, Outcome, lesson


def test_measured_outcomes_teach_their_values() -> None:
    assert {o for o in Outcome if lesson(o) is Lesson.VALUES} == {
        Outcome.OK,
        Outcome.INFEASIBLE,
    }


@pytest.mark.parametrize(
    "outcome", [o for o in Outcome if o not in (Outcome.OK, Outcome.INFEASIBLE)]
)
def test_failures_teach_to_stay_away(outcome: Outcome) -> None:
    assert lesson(outcome) is Lesson.REJECT


def test_outcomes_are_stored_by_value() -> None:
    assert all(Outcome(str(outcome)) is outcome for outcome in Outcome)

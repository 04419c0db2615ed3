"""What is said of a recipe's tasks: "within 1 %" only where the sample shows it."""

from __future__ import annotations

import pytest

from autotune.bench.meters.tasks import score_metrics
from autotune.front import front_points, p_value, task_metrics, task_verdict
from autotune.messages import TASK_RUN, Measurement, TaskScore, TrialResult
from autotune.outcome import Outcome


def score(n: int, correct: int, gained: int | None, lost: int | None) -> TaskScore:
    return TaskScore(name="t", n=n, correct=correct, gained=gained, lost=lost)


def run(*scores: TaskScore) -> TrialResult:
    return TrialResult(number=1, outcome=Outcome.OK, metrics=score_metrics(scores), tasks=scores)


@pytest.mark.parametrize(
    ("n", "gained", "lost", "words"),
    [
        (24, 0, 0, "50.0 % (+0 points, within 1 % not demonstrated, n=24)"),
        (380, 0, 0, "50.0 % (+0 points, within 1 % not demonstrated, n=380)"),
        (400, 0, 0, "50.0 % (+0 points, within 1 %, n=400)"),
        (1000, 10, 20, "50.0 % (-1 points, within 1 % not demonstrated, n=1000)"),
        (10_000, 30, 45, "50.0 % (-0.15 points, within 1 %, n=10000)"),
        (10_000, 20, 60, "50.0 % (-0.4 points, worse, within 1 %, n=10000)"),
        (1000, 10, 90, "50.0 % (-8 points, worse, n=1000)"),
        (1000, 60, 5, "50.0 % (+5.5 points, better, n=1000)"),
    ],
)
def test_verdict_says_no_more_than_the_interval_shows(
    n: int, gained: int, lost: int, words: str
) -> None:
    found = score_metrics([score(n, n // 2, gained, lost)])
    assert task_verdict(found) == f"task accuracy {words}".replace("(-", "(\N{MINUS SIGN}")


def test_verdict_without_pairs() -> None:
    assert task_verdict({}) == ""
    assert task_verdict(score_metrics([score(9, 5, None, None)])) == "same task accuracy"
    failed = {"task_accuracy": Measurement(value=None, unit="ratio", reason="crashed: x")}
    assert task_verdict(failed) == "task accuracy not measured"


def test_p_value_is_of_all_tasks_together() -> None:
    assert p_value([score(21, 9, 1, 3), score(30, 9, 0, 4)]) == pytest.approx(0.0703, abs=5e-5)
    assert p_value([]) is None
    assert p_value([score(21, 9, None, None)]) is None


def test_failed_run_is_null_with_its_reason() -> None:
    failed = TrialResult(number=1, outcome=Outcome.TIMEOUT, explanation="tasks took too long")
    found = task_metrics({TASK_RUN: failed})["task_accuracy"]
    assert (found.value, found.reason) == (None, "timeout: tasks took too long")
    assert task_metrics({1: run(score(9, 5, 0, 0))}) == {}


class Trial:
    number = 1
    recipe = {"batch": {"size": 2}}
    result = TrialResult(number=1, outcome=Outcome.OK)
    confirmations = {TASK_RUN: run(score(9, 5, 1, 0))}


def test_point_carries_its_tasks_and_is_no_repetition() -> None:
    (point,) = front_points([Trial()])
    assert point.tasks == (score(9, 5, 1, 0),)
    assert set(point.metrics) == {"task_accuracy", "task_accuracy_delta", "task_flip_ratio"}

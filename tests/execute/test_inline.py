"""The inline executor keeps the contract of all executors."""

from __future__ import annotations

import pytest

from autotune.execute.base import Executor
from autotune.execute.inline import InlineExecutor
from autotune.messages import TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.testing import ExecutorContract, fake_result, fake_spec


def run(spec: TrialSpec) -> TrialResult:
    return fake_result(spec, Outcome.CRASHED if spec.recipe else Outcome.OK)


class TestInline(ExecutorContract):
    def make(self) -> Executor:
        return InlineExecutor(run)


class TestInlineWithSlots(ExecutorContract):
    def make(self) -> Executor:
        return InlineExecutor(run, slots=3)


def test_trials_run_in_the_order_of_submission() -> None:
    executor = InlineExecutor(run, slots=3)
    for number in (4, 2, 7):
        executor.submit(fake_spec(number))
    assert [executor.wait().number for _ in range(3)] == [4, 2, 7]


def test_warm_setup_is_that_of_the_latest_trial() -> None:
    executor = InlineExecutor(run)
    assert executor.warm_setup() is None
    spec = fake_spec(0, {"batch": {"size": 2}})
    executor.submit(spec)
    assert executor.warm_setup() is None
    executor.wait()
    assert executor.warm_setup() == spec.setup_key


def test_close_forgets_what_was_not_run() -> None:
    executor = InlineExecutor(run)
    executor.submit(fake_spec())
    executor.close()
    with pytest.raises(IndexError):
        executor.wait()

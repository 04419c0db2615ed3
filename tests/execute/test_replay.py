"""The replay executor keeps the contract of all executors, and a simulated clock."""

from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.execute.base import Executor
from autotune.execute.replay import ReplayExecutor, SimulatedWorkers
from autotune.messages import Measurement, RecipeDict
from autotune.outcome import Outcome
from autotune.tables import Objective, Row, Table
from autotune.testing import ExecutorContract, fake_spec

COSTS = {"prepare": 10.0, "score": 5.0, "measure": 1.0}


def recipe(size: int) -> RecipeDict:
    return {"batch": {"size": size}} if size > 1 else {}


def row(size: int, outcome: Outcome = Outcome.OK, setup_key: str = "") -> Row:
    return Row(
        (size,),
        outcome,
        {"output_tokens_per_second": 10.0 * size} if outcome is Outcome.OK else {},
        {"output_tokens_per_second": (9.0 * size, 11.0 * size)} if outcome is Outcome.OK else {},
        COSTS,
        recipe_key=fake_spec(0, recipe(size)).recipe_key,
        setup_key=setup_key,
    )


TABLE = Table(
    "t",
    ("batch.size",),
    (Objective("output_tokens_per_second", True),),
    (row(1), row(2), row(4, Outcome.OUT_OF_MEMORY)),
)


class TestReplay(ExecutorContract):
    def make(self) -> Executor:
        return ReplayExecutor(TABLE)


class TestReplayWithWorkers(ExecutorContract):
    def make(self) -> Executor:
        return ReplayExecutor(TABLE, 3)


def test_result_is_what_was_recorded() -> None:
    executor = ReplayExecutor(TABLE)
    executor.submit(fake_spec(3, recipe(2)))
    result = executor.wait()
    assert result.outcome is Outcome.OK
    speed = result.metrics["output_tokens_per_second"]
    assert (speed.value, speed.ci_low, speed.ci_high) == (20, 18, 22)
    assert speed.unit == "1/s"
    assert result.blocks
    assert executor.now_seconds == 16


def test_recorded_failure_is_a_failure() -> None:
    executor = ReplayExecutor(TABLE)
    executor.submit(fake_spec(0, recipe(4)))
    result = executor.wait()
    assert (result.outcome, result.metrics) == (Outcome.OUT_OF_MEMORY, {})


def test_constraints_are_those_of_the_trial() -> None:
    executor = ReplayExecutor(TABLE)
    limited = {"constraints": ("output_tokens_per_second>=19",)}
    for size in (1, 2):
        executor.submit(fake_spec(size, recipe(size)).model_copy(update=limited))
    first, second = executor.wait(), executor.wait()
    assert first.outcome is second.outcome is Outcome.INFEASIBLE  # 2: its interval begins at 18
    assert "wanted output_tokens_per_second>=19" in first.explanation


def test_warm_session_and_known_accuracy_cost_nothing_twice() -> None:
    executor = ReplayExecutor(TABLE)
    executor.submit(fake_spec(0).model_copy(update={"setup_key": "same"}))
    assert not executor.wait().warm
    assert (executor.now_seconds, executor.warm_setup()) == (16, "same")
    known = {"kld_mean_nats": Measurement(value=0.5, unit="nats")}
    sibling = fake_spec(1, recipe(2))
    executor.submit(sibling.model_copy(update={"setup_key": "same", "known_accuracy": known}))
    second = executor.wait()
    assert (second.warm, second.accuracy_reused, executor.now_seconds) == (True, True, 17)
    assert second.metrics["kld_mean_nats"].value == 0.5


def test_repetition_in_a_fresh_process_is_never_warm() -> None:
    executor = ReplayExecutor(TABLE)
    executor.submit(fake_spec(0))
    executor.wait()
    executor.submit(fake_spec(0).model_copy(update={"confirmation": 1}))
    assert not executor.wait().warm
    assert executor.now_seconds == 32


def test_every_worker_may_die_and_says_so() -> None:
    executor = ReplayExecutor(TABLE, loss_ratio=1.0, seed=1)
    executor.submit(fake_spec(0))
    result = executor.wait()
    assert (result.outcome, result.metrics) == (Outcome.LOST, {})
    assert 0 < executor.now_seconds < 16
    assert executor.warm_setup() is None


def test_deaths_come_again_with_their_seed() -> None:
    def run(workers: SimulatedWorkers, job: int) -> bool:
        workers.start(job, TABLE.rows[0])
        return workers.wait().lost

    def deaths(seed: int) -> list[bool]:
        workers = SimulatedWorkers(1, loss_ratio=0.5, seed=seed)
        return [run(workers, i) for i in range(20)]

    assert deaths(1) == deaths(1) != deaths(2)


def test_workers_run_side_by_side_and_results_come_as_they_end() -> None:
    quick = Row((8,), phase_seconds={"measure": 3.0}, recipe_key="quick")
    table = Table("t", TABLE.params, TABLE.objectives, (*TABLE.rows, quick))
    executor = ReplayExecutor(table, 2)
    executor.submit(fake_spec(0))
    for number in (1, 2):
        executor.submit(fake_spec(number).model_copy(update={"recipe_key": "quick"}))
    ends = [(executor.wait().number, executor.now_seconds) for _ in range(3)]
    assert ends == [(1, 3), (2, 6), (0, 16)]


def test_a_warm_worker_is_preferred() -> None:
    workers = SimulatedWorkers(2)
    workers.start(0, row(1, setup_key="a"))
    workers.start(1, row(1, setup_key="b"))
    workers.wait()
    workers.wait()
    workers.start(2, row(1, setup_key="b"))
    workers.start(3, row(1, setup_key="a"))
    assert [workers.wait().warm, workers.wait().warm] == [True, True]


def test_table_without_keys_needs_rows() -> None:
    table = Table("t", ("a",), TABLE.objectives, (Row((1,), metrics=TABLE.rows[0].metrics),))
    with pytest.raises(InputError, match="no column recipe_key"):
        ReplayExecutor(table)
    executor = ReplayExecutor(table, rows={fake_spec().recipe_key: 0})
    executor.submit(fake_spec())
    assert executor.wait().outcome is Outcome.OK
    assert executor.now_seconds == 1

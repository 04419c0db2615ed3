"""The contract of executors as tests."""

from __future__ import annotations

from autotune.execute.base import Executor
from autotune.messages import TrialSpec
from autotune.outcome import Outcome
from autotune.testing.fakes import fake_spec


class ExecutorContract:
    """What the search expects of every executor."""

    def make(self) -> Executor:
        """An executor whose trials are trivial, and for which ``failing_spec`` fails."""
        raise NotImplementedError

    def specs(self, count: int) -> list[TrialSpec]:
        """Trials with the numbers 0 to ``count - 1``."""
        return [fake_spec(number) for number in range(count)]

    def failing_spec(self, number: int) -> TrialSpec:
        """A trial that cannot succeed."""
        return fake_spec(number, {"no_such_plugin": {"level": 1}})

    def test_has_a_slot(self) -> None:
        executor = self.make()
        try:
            assert executor.slots >= 1
        finally:
            executor.close()

    def test_each_trial_gives_one_result_even_beyond_the_slots(self) -> None:
        executor = self.make()
        try:
            count = executor.slots + 2
            for spec in self.specs(count):
                executor.submit(spec)
            numbers = [executor.wait().number for _ in range(count)]
        finally:
            executor.close()
        assert sorted(numbers) == list(range(count))

    def test_failing_trial_is_a_result_and_the_next_one_runs(self) -> None:
        executor = self.make()
        try:
            executor.submit(self.failing_spec(1))
            failed = executor.wait()
            executor.submit(self.specs(1)[0])
            following = executor.wait()
        finally:
            executor.close()
        assert failed.number == 1
        assert failed.outcome not in (Outcome.OK, Outcome.INFEASIBLE)
        assert failed.explanation, "a failure needs an explanation for a person"
        assert following.number == 0

    def test_close_is_idempotent(self) -> None:
        executor = self.make()
        executor.submit(self.specs(1)[0])
        executor.wait()
        executor.close()
        executor.close()

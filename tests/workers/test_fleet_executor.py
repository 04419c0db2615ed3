"""The executor of the workers, held to the contract of all executors and to its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import redis as redis_client

from autotune.errors import BrokerError, InputError
from autotune.execute.base import Executor
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.executor import FleetExecutor, Patience
from autotune.execute.fleet.messages import FleetEvent, WorkerCard
from autotune.messages import Progress, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.store import Store
from autotune.store.jobs import Jobs
from autotune.testing import ExecutorContract, fake_device, fake_result, fake_spec
from fleet_support.servers import RedisServer, free_port
from fleet_support.simulated import simulated_workers

QUEUE = "autotune.test"
IMPATIENT = Patience(lease_seconds=1.0, bell_seconds=1.0, look_seconds=0.1, max_deaths=2)


def measure(spec: TrialSpec) -> TrialResult:
    good = "no_such_plugin" not in spec.recipe
    return fake_result(spec, Outcome.OK if good else Outcome.CRASHED)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestFleetExecutor(ExecutorContract):
    @pytest.fixture(autouse=True)
    def _fleet(self, redis: RedisServer, database: str) -> Iterator[None]:
        self.broker = Broker(redis.url)
        with Store.open(database) as store:
            store.create_study("fake", {}, [], [], {})
            self.jobs = Jobs(store)
            with simulated_workers(
                redis.url, database, count=2, queue=QUEUE, device=fake_device(), run=measure
            ):
                yield
        self.broker.close()

    def make(self) -> Executor:
        return FleetExecutor(
            self.broker, self.jobs, "fake", QUEUE, lambda _: None, patience=IMPATIENT
        )


@pytest.fixture
def jobs(database: str) -> Iterator[Jobs]:
    with Store.open(database) as store:
        store.create_study("fake", {}, [], [], {})
        yield Jobs(store)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
class TestWithoutWorkers:
    def executor(self, redis: RedisServer, jobs: Jobs, seen: list[Progress]) -> FleetExecutor:
        return FleetExecutor(
            Broker(redis.url), jobs, "fake", QUEUE, seen.append, patience=IMPATIENT
        )

    def test_trial_whose_workers_die_is_lost_in_the_end(
        self,
        redis: RedisServer,
        jobs: Jobs,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        executor = self.executor(redis, jobs, [])
        put: list[int] = []

        def take_and_die(queue: str, message: Any) -> bool:
            assert jobs.lease(message.job, message.attempt, f"mortal-{message.attempt}")
            put.append(message.attempt)
            return True

        monkeypatch.setattr(executor._broker, "publish", take_and_die)
        executor.submit(fake_spec(4))
        result = executor.wait()
        executor.close()
        assert put == [1, 2]
        assert (result.number, result.outcome) == (4, Outcome.LOST)
        assert "2 workers died while they ran this recipe, the last mortal-2" in result.explanation
        said = "worker mortal-1 has given no sign of life for 1 s: trial 4 goes to the next one"
        assert said in caplog.messages

    def test_no_worker_is_told_while_it_waits(self, redis: RedisServer, jobs: Jobs) -> None:
        class Told(Exception):
            pass

        def on_progress(progress: Progress) -> None:
            raise Told(progress.detail)

        executor = FleetExecutor(
            Broker(redis.url), jobs, "fake", QUEUE, on_progress, patience=IMPATIENT
        )
        executor.submit(fake_spec(0))
        with pytest.raises(Told, match="no worker is up"):
            executor.wait()

    def test_close_calls_off_what_runs_and_keeps_what_is_measured(
        self, redis: RedisServer, jobs: Jobs
    ) -> None:
        executor = self.executor(redis, jobs, [])
        executor.submit(fake_spec(0))
        executor.submit(fake_spec(1))
        running, done = executor._running
        for job in (running, done):
            assert jobs.lease(job, 1, "worker")
        jobs.finish(done, fake_result(fake_spec(1)))
        executor.close()
        assert not jobs.beat(running, 1)
        following = self.executor(redis, jobs, [])
        following.submit(fake_spec(1))
        assert following.wait().number == 1, "the next coordinator gets it at once"
        following.close()

    def test_coordinator_that_lost_the_study_leaves_it_alone(
        self, redis: RedisServer, jobs: Jobs
    ) -> None:
        def keep() -> None:
            raise InputError("another process has it")

        executor = FleetExecutor(
            Broker(redis.url), jobs, "fake", QUEUE, print, patience=IMPATIENT, keep=keep
        )
        executor.submit(fake_spec(0))
        (job,) = executor._running
        jobs.lease(job, 1, "worker")
        with pytest.raises(InputError, match="another process has it"):
            executor.wait()
        executor.close()
        assert jobs.beat(job, 1), "its new owner wants it"

    def test_job_that_vanished_is_queued_again(self, redis: RedisServer, jobs: Jobs) -> None:
        executor = self.executor(redis, jobs, [])
        executor.submit(fake_spec(0))
        jobs.remove(list(executor._running))
        (job,) = executor._look() or jobs.look(list(executor._running))
        assert jobs.lease(job.id, 1, "worker") is not None
        executor.close()

    def test_time_in_which_nobody_looked_does_not_count(
        self, redis: RedisServer, jobs: Jobs
    ) -> None:
        clock = [0.0]
        executor = FleetExecutor(
            Broker(redis.url), jobs, "fake", QUEUE, print, clock=lambda: clock[0]
        )
        executor.submit(fake_spec(0))
        (job,) = executor._running
        jobs.lease(job, 1, "worker")
        for now, deaths in ((1, 0), (100, 0), (110, 0), (120, 0), (131, 1)):
            clock[0] = float(now)
            for seen in executor._look():
                executor._tend(seen)
            assert jobs.look([job])[0].deaths == deaths, now
        executor.close()

    def test_trial_that_every_worker_refuses_is_lost_with_their_reasons(
        self, redis: RedisServer, jobs: Jobs
    ) -> None:
        executor = self.executor(redis, jobs, [])
        card = WorkerCard(
            name="one", host="h", device=fake_device(), environment={}, database="", queue=QUEUE
        )
        Broker(redis.url).announce(card)
        executor.submit(fake_spec(5))
        (job,) = executor._running
        jobs.lease(job, 1, "one")
        jobs.refuse(job, 1, "one", "there is no /model on this machine")
        result = executor.wait()
        executor.close()
        assert result.outcome is Outcome.LOST
        assert result.explanation == (
            "no worker can run it: one: there is no /model on this machine"
        )


def test_foreign_bytes_in_redis_are_dropped(redis: RedisServer) -> None:
    raw = redis_client.Redis.from_url(redis.url)
    raw.set("autotune:worker:odd", b"\xff\xfe")
    with contextlib.closing(Broker(redis.url)) as broker:
        listener = broker.listen("s")
        assert list(listener.events(0.2)) == []
        assert broker.workers() == []
        raw.publish("autotune:study:s", b"\xff")
        event = FleetEvent(job=1, worker="one")
        broker.tell("s", event)
        seen = [found for _ in range(5) for found in listener.events(0.2)]
        listener.close()
    raw.close()
    assert seen == [event]


@pytest.mark.parametrize("url", ["http://host", "redis://host:port", "host"])
def test_broker_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="not a broker's URL"):
        Broker(url)


def test_broker_that_is_away_is_said_without_its_password() -> None:
    with contextlib.closing(Broker(f"redis://:hush@127.0.0.1:{free_port()}")) as broker:
        with pytest.raises(BrokerError, match="unreachable or refuses") as caught:
            broker.check()
        assert "hush" not in str(caught.value)

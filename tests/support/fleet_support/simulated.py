"""Threads that speak the workers' protocol: two hundred of them fit where two real workers do."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from autotune.device import Device
from autotune.environment import describe_environment
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import RunJob, WorkerCard
from autotune.messages import TrialResult, TrialSpec
from autotune.store import Store
from autotune.store.jobs import Jobs

RunTrial = Callable[[TrialSpec], TrialResult]


@contextlib.contextmanager
def simulated_workers(
    broker_url: str,
    database: str,
    *,
    count: int,
    queue: str,
    device: Device,
    run: RunTrial,
) -> Iterator[None]:
    """They announce themselves, take leases and store what the function gives."""
    over = threading.Event()
    with Store.open(database, patience_seconds=60) as store:
        jobs, identity = Jobs(store), store.identity()

        def work(name: str) -> None:
            card = WorkerCard(
                name=name,
                host="here",
                device=device,
                environment=describe_environment(device),
                database=identity,
                queue=queue,
            )
            with contextlib.closing(Broker(broker_url)) as broker:
                _work(broker, jobs, card, run, over)

        threads = [
            threading.Thread(target=work, args=(f"simulated-{i}",), daemon=True)
            for i in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


def _work(
    broker: Broker, jobs: Jobs, card: WorkerCard, run: RunTrial, over: threading.Event
) -> None:
    announced = -float("inf")
    with broker.app.connection_for_read() as connection:
        messages = connection.SimpleQueue(card.queue)
        while not over.is_set():
            if time.monotonic() - announced > 5:
                broker.announce(card)
                announced = time.monotonic()
            with contextlib.suppress(messages.Empty):
                message = messages.get(timeout=0.5)
                message.ack()
                (given,) = message.payload[0]
                bell = RunJob.model_validate(given)
                spec = jobs.lease(bell.job, bell.attempt, card.name)
                if spec is not None:
                    jobs.finish(bell.job, run(spec))
        messages.close()
    broker.leave(card.name)

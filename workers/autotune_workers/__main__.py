"""``python -m autotune_workers``: one worker, told by its environment (see ``settings``)."""

from __future__ import annotations

import sys

from autotune.errors import AutotuneError
from autotune.execute.fleet.broker import Broker
from autotune.store import Store
from autotune_workers.app import make_card, make_worker
from autotune_workers.job import MakeSlot, device_slot
from autotune_workers.settings import WorkerSettings


def main(make_slot: MakeSlot = device_slot) -> None:
    """Checks what can be wrong, then works until it is told to stop.

    Args:
        make_slot: What carries the trials.
    """
    try:
        settings = WorkerSettings.from_environment()
        card = make_card(settings)
        broker = Broker(settings.broker).check()
        Store.open(settings.database).close()
    except AutotuneError as error:
        sys.exit(f"error: {error}")
    app = make_worker(settings, card, broker.app, make_slot)
    print(f"worker {card.name}: {card.device.name}, queue {card.queue}", flush=True)
    app.worker_main(
        [
            "worker",
            f"--hostname={card.name}",
            f"--queues={card.queue}",
            "--pool=prefork",
            "--concurrency=1",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]
    )


if __name__ == "__main__":
    main()

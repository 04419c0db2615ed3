"""``python -m autotune_workers``: one worker, told by its environment (see ``settings``)."""

from __future__ import annotations

import sys

import structlog

from autotune.errors import AutotuneError, InputError
from autotune.execute.fleet.broker import CARD_SECONDS, Broker
from autotune.execute.fleet.settings import WorkerSettings
from autotune.logs import set_up_logs
from autotune_workers.app import make_card, make_worker
from autotune_workers.job import MakeSlot, device_slot


def main(make_slot: MakeSlot = device_slot) -> None:
    """Checks what can be wrong, then works until it is told to stop.

    Args:
        make_slot: What carries the trials.
    """
    try:
        settings = WorkerSettings.from_environment()
        broker = Broker(settings.broker).check()
        card = make_card(settings)
        _refuse_twin(broker, card.name)
    except AutotuneError as error:
        sys.exit(f"error: {error}")
    set_up_logs()
    structlog.contextvars.bind_contextvars(worker=card.name)
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


def _refuse_twin(broker: Broker, name: str) -> None:
    if any(card.name == name for card in broker.workers()):
        raise InputError(
            f"a worker named {name!r} is up; give another --name, or, if it has just died, wait "
            f"{CARD_SECONDS} s"
        )


if __name__ == "__main__":
    main()

"""The workers that a search finds through its broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autotune.config import StudyFile
from autotune.device import KINDS
from autotune.environment import ENV_ID
from autotune.launch.place import Place
from autotune.search.plan import check_study, default_name
from autotune.store.store import Store

if TYPE_CHECKING:
    from rich.console import Console

    from autotune.execute.fleet.broker import Broker
    from autotune.execute.fleet.messages import WorkerCard


@dataclass(frozen=True)
class Fleet:
    """Workers that are up, and how to reach them."""

    broker: Broker
    cards: list[WorkerCard]
    lease_seconds: float


def find_fleet(study: StudyFile, place: Place, broker_url: str, console: Console) -> Fleet:
    """Makes sure that somebody will measure, before anything else is done.

    Args:
        study: What is searched.
        place: Where it is kept.
        broker_url: The workers' Redis.
        console: For the names of the workers.

    Raises:
        InputError: No worker is up that can.
        BrokerError: Redis does not answer.
    """
    from autotune.execute.fleet.broker import Broker
    from autotune.search.workers import choose_workers

    check_study(study)
    broker = Broker(broker_url).check()
    place.make_folder()
    with Store.open(place.url) as store:
        database = store.identity()
        names = [study.name] if study.name else [default_name(study.model, k) for k in KINDS]
        begun = [found for name in names if (found := store.find_study(name))]
    begun_on = [found.environment[ENV_ID] for found in begun if ENV_ID in found.environment]
    cards = choose_workers(broker, database, study.device, study.worker, begun_on, study.trust)
    console.print(f"workers: {', '.join(card.name for card in cards)}", markup=False)
    return Fleet(broker, cards, place.lease_seconds)

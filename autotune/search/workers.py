"""Which workers may measure for a study."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.environment import ENV_ID, environment_differences
from autotune.errors import InputError
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import WorkerCard, queue_name

_DIFFERENCES = 3


def require_workers(
    broker: Broker, database: str, environment: Mapping[str, str]
) -> list[WorkerCard]:
    """Finds the workers of this database whose numbers may be compared with each other and with
    this machine's.

    Args:
        broker: Where they announce themselves.
        database: Its identity.
        environment: Of this machine, for the study's device.

    Returns:
        At least one; all of the same queue.

    Raises:
        InputError: There is none; says who is there, and in what they differ.
        BrokerError: The broker does not answer.
    """
    found = broker.workers()
    queue = queue_name(database, environment[ENV_ID])
    fitting = [card for card in found if card.queue == queue]
    if fitting:
        return fitting
    if not found:
        raise InputError(
            "no worker is up; start one on each device with: autotune worker --broker URL "
            "--database URL"
        )
    others = "; ".join(f"{card.name}: {_why(card, database, environment)}" for card in found[:5])
    raise InputError(
        f"none of the {len(found)} workers that are up measures as this machine would: {others}; "
        "start the search where machine and versions are the same, or mend the workers"
    )


def _why(card: WorkerCard, database: str, environment: Mapping[str, str]) -> str:
    if card.database != database:
        return "looks for jobs in another database; give it the same --database"
    differing = list(environment_differences(card.environment, environment).items())
    words = [f"{key} is {there}, here {here}" for key, (there, here) in differing[:_DIFFERENCES]]
    if len(differing) > _DIFFERENCES:
        words.append(f"and {len(differing) - _DIFFERENCES} more")
    return ", ".join(words) or f"speaks another protocol ({card.queue})"

"""Which workers measure for a study."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby

from autotune.environment import ENV_ID, environment_differences
from autotune.environment.software import software
from autotune.errors import InputError
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import WorkerCard, queue_name
from autotune.trust import DATA_ONLY, Trust

_OURS = ("autotune", "plugin_distributions")
"""What must be the same here as there: recipes are planned here and carried out there."""

_DIFFERENCES = 3
_NAMED = 5


def choose_workers(
    broker: Broker,
    database: str,
    device: str = "auto",
    like: str = "",
    begun_on: Collection[str] = (),
    trust: Trust = DATA_ONLY,
) -> list[WorkerCard]:
    """Finds the workers of this database that measure for a study: those that are up and whose
    numbers may be compared with each other. What machine this is does not matter.

    Args:
        broker: Where they announce themselves.
        database: Its identity.
        device: The study's: ``auto`` (GPUs, if there are any), ``cpu``, ``cuda`` or ``cuda:N``;
            the number is up to them.
        like: Name of a worker; only it and those like it are meant.
        begun_on: The ``env_id`` of the study where it goes on; workers of that are meant.
        trust: What the model's files may do; only workers that allow it are meant.

    Returns:
        At least one; all of the same queue.

    Raises:
        InputError: There is none, or of more than one kind; says who is there, and in what they
            differ.
        BrokerError: The broker does not answer.
    """
    found = broker.workers()
    if not found:
        raise InputError(
            "no worker is up; start one on each device with: autotune worker --broker URL "
            "--database URL"
        )
    here = software()
    reasons = {card.name: _why_not(card, database, device, here, trust) for card in found}
    fitting = [card for card in found if not reasons[card.name]]
    if not fitting:
        words = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:_NAMED])
        raise InputError(f"none of the {len(found)} workers that are up can be used: {words}")
    kinds = _by_queue(fitting)
    if like:
        return _like(kinds, like, reasons)
    again = {q: c for q, c in kinds.items() if c[0].environment[ENV_ID] in begun_on}
    gpus = {q: c for q, c in kinds.items() if device == "auto" and c[0].device.kind == "cuda"}
    kinds = again or gpus or kinds
    if len(kinds) > 1:
        away = "the workers that it was begun on are not up; " if begun_on and not again else ""
        raise InputError(away + _several(kinds))
    return next(iter(kinds.values()))


def _why_not(
    card: WorkerCard, database: str, device: str, here: Mapping[str, str], trust: Trust
) -> str:
    """Why a worker cannot measure for the study; empty if it can."""
    if card.database != database:
        return "looks for jobs in another database; give it the same --database"
    if card.queue != queue_name(database, card.environment.get(ENV_ID, "")):
        return f"speaks another protocol ({card.queue}); install the same autotune there and here"
    skew = [key for key in _OURS if card.environment.get(key) != here.get(key)]
    if skew:
        words = [f"{k} is {card.environment.get(k)}, here {here.get(k)}" for k in skew]
        return f"{', '.join(words)}; install the same there and here"
    kind = device.partition(":")[0]
    if kind != "auto" and card.device.kind != kind:
        return f"has the device {card.device.name} ({card.device.kind}), the study wants {device}"
    return trust.why_not(card.allows)


def _by_queue(cards: Sequence[WorkerCard]) -> dict[str, list[WorkerCard]]:
    ordered = sorted(cards, key=lambda card: (card.queue, card.name))
    return {queue: list(same) for queue, same in groupby(ordered, lambda card: card.queue)}


def _like(
    kinds: Mapping[str, list[WorkerCard]], name: str, reasons: Mapping[str, str]
) -> list[WorkerCard]:
    for cards in kinds.values():
        if any(card.name == name for card in cards):
            return cards
    why = reasons.get(name)
    up = ", ".join(reasons)
    raise InputError(
        f"--worker: {name} cannot be used: {why}" if why else f"--worker: no {name} is up: {up}"
    )


def _several(kinds: Mapping[str, list[WorkerCard]]) -> str:
    chosen, *others = kinds.values()
    first = chosen[0]
    groups = [f"{first.device.name}: {_names(chosen)}"]
    for cards in others:
        differing = list(environment_differences(cards[0].environment, first.environment).items())
        words = [f"{key} is {other}, not {one}" for key, (other, one) in differing[:_DIFFERENCES]]
        if len(differing) > _DIFFERENCES:
            words.append(f"and {len(differing) - _DIFFERENCES} more")
        groups.append(f"{cards[0].device.name}: {_names(cards)} ({', '.join(words)})")
    return (
        f"workers of {len(kinds)} kinds are up, whose numbers cannot be compared: "
        f"{'; '.join(groups)}; choose one kind by the name of one of its workers: --worker "
        f"{first.name}"
    )


def _names(cards: Sequence[WorkerCard]) -> str:
    names = [card.name for card in cards[:_NAMED]]
    more = len(cards) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")

"""Which workers measure for a study; they are announced in a real Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from autotune.device import Device, detect
from autotune.environment import ENV_ID, describe_environment, env_id
from autotune.errors import InputError
from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import WorkerCard, queue_name
from autotune.search.workers import choose_workers
from autotune.testing import fake_device
from autotune.trust import DATA_ONLY, Trust
from fleet_support.servers import RedisServer

DATABASE = "0123456789abcdef"
Announce = Callable[..., WorkerCard]


@pytest.fixture
def broker(redis: RedisServer) -> Iterator[Broker]:
    opened = Broker(redis.url)
    yield opened
    opened.close()


@pytest.fixture
def announce(broker: Broker) -> Announce:
    """Announces a worker whose environment differs from this machine's in what is named."""

    def up(
        name: str,
        device: Device | None = None,
        database: str = DATABASE,
        allows: Trust = DATA_ONLY,
        **other: str,
    ) -> WorkerCard:
        device = device or detect("cpu")
        environment = {**describe_environment(device), **other}
        environment[ENV_ID] = env_id(environment)
        card = WorkerCard(
            name=name,
            host="h",
            device=device,
            environment=environment,
            database=database,
            queue=queue_name(database, environment[ENV_ID]),
            allows=allows,
        )
        broker.announce(card)
        return card

    return up


def names(cards: list[WorkerCard]) -> list[str]:
    return [card.name for card in cards]


def test_all_of_one_kind_whatever_this_machine_is(broker: Broker, announce: Announce) -> None:
    gpu = fake_device("cuda")
    for name in ("b", "a"):
        announce(name, gpu, torch="2.11.0+cu130")
    announce("elsewhere", database="another")
    assert names(choose_workers(broker, DATABASE)) == ["a", "b"]
    assert names(choose_workers(broker, DATABASE, "cuda:3")) == ["a", "b"]


def test_device_and_name_choose_among_kinds(broker: Broker, announce: Announce) -> None:
    gpu = fake_device("cuda")
    announce("gpu", gpu)
    announce("cpu", torch="2.12.0")
    announce("cpu-too", torch="2.12.0")
    old = announce("old", torch="2.11.0")
    assert names(choose_workers(broker, DATABASE, "cuda")) == ["gpu"]
    assert names(choose_workers(broker, DATABASE, like="cpu")) == ["cpu", "cpu-too"]
    begun = old.environment[ENV_ID]
    assert names(choose_workers(broker, DATABASE, begun_on=[begun])) == ["old"]
    assert names(choose_workers(broker, DATABASE)) == ["gpu"], "GPUs come first"
    with pytest.raises(InputError, match="workers of 2 kinds are up") as refused:
        choose_workers(broker, DATABASE, "cpu", begun_on=["gone"])
    assert str(refused.value).startswith("the workers that it was begun on are not up; workers of")
    assert "choose one kind by the name of one of its workers: --worker" in str(refused.value)
    with pytest.raises(InputError, match=r"2 kinds.*torch is 2.1[12].0, not 2.1[12].0"):
        choose_workers(broker, DATABASE, "cpu")
    with pytest.raises(InputError, match="no nobody is up: cpu, cpu-too, gpu, old"):
        choose_workers(broker, DATABASE, like="nobody")


def test_models_that_do_more_than_be_read_go_where_that_is_allowed(
    broker: Broker, announce: Announce
) -> None:
    pickles, both = Trust(allow_pickle=True), Trust(allow_pickle=True, trust_remote_code=True)
    announce("strict")
    announce("some", allows=pickles)
    announce("all", allows=both)
    assert names(choose_workers(broker, DATABASE)) == ["all", "some", "strict"]
    assert names(choose_workers(broker, DATABASE, trust=pickles)) == ["all", "some"]
    assert names(choose_workers(broker, DATABASE, trust=both)) == ["all"]
    with pytest.raises(InputError, match="strict cannot be used: does not allow --trust-remote"):
        choose_workers(broker, DATABASE, like="strict", trust=both)


def test_whoever_cannot_measure_is_named_with_the_reason(
    broker: Broker, announce: Announce
) -> None:
    announce("lost", database="another")
    announce("other", plugin_distributions="autotune-else 9")
    announce("slow")
    old = announce("old")
    broker.announce(old.model_copy(update={"queue": "autotune.v1.x"}))
    with pytest.raises(InputError, match="none of the 4 workers that are up") as refused:
        choose_workers(broker, DATABASE, "cuda")
    for words in (
        "lost: looks for jobs in another database",
        "other: plugin_distributions is autotune-else 9, here ",
        "slow: has the device ",
        "the study wants cuda",
        "old: speaks another protocol (autotune.v1.x)",
    ):
        assert words in str(refused.value)
    with pytest.raises(InputError, match="--worker: lost cannot be used: looks for jobs in"):
        choose_workers(broker, DATABASE, like="lost")

"""Searches over real workers, and the death of every part of them."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from autotune.execute.fleet.broker import Broker
from autotune.execute.fleet.messages import RUN_JOB
from autotune.outcome import Outcome
from autotune.report.front_file import read_front
from autotune.store import Store
from fleet_support.servers import PostgresServer, wait_for


def assert_whole(fleet: Any, trials: int, repeated: int = 0) -> None:
    """Every trial once, none left running, and at most so many of them measured twice."""
    found = fleet.finished()
    assert len(found) == trials
    assert len({t.recipe_key for t in found.values()}) == trials
    assert {t.result.outcome for t in found.values() if t.result} == {Outcome.OK}
    assert set(fleet.journal("end")) == set(found)
    assert fleet.journal("end").total() <= trials + repeated
    assert fleet.recipes_left_running() == []


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_two_workers_share_a_search(fleet: Any) -> None:
    for name in ("one", "two"):
        fleet.worker(name)
    fleet.wait_for_workers(2)
    output = fleet.ended(fleet.search("--trials", 8))
    assert "workers: one, two" in output
    assert_whole(fleet, 8)
    assert {line.split()[2] for line in fleet.journal_lines()} == {"one", "two"}
    logged = [entry for name in ("one", "two") for entry in fleet.logged(name)]
    ended = {e["trial"]: e for e in logged if e["event"] == "ok" and e["study"] == "s"}
    assert set(ended) == set(fleet.finished())
    assert {e["worker"] for e in ended.values()} == {"one", "two"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_worker_that_is_asked_to_stop_ends_its_trial_first(fleet: Any) -> None:
    first = fleet.worker("first", seconds=1.5)
    fleet.wait_for_workers(1)
    search = fleet.search("--trials", 3)
    wait_for(lambda: fleet.journal("begin"), 60, "the baseline runs")
    first.terminate()
    fleet.worker("second")
    assert first.wait(timeout=30) == 0
    fleet.ended(search)
    assert_whole(fleet, 3)


def test_same_recipes_in_the_same_order_as_on_this_machine(
    make_fleet: Callable[[str], Any], postgres: PostgresServer, tmp_path: Path
) -> None:
    """One worker through Celery and PostgreSQL, and a function and SQLite: the same study."""
    fleet = make_fleet(postgres.new_database())
    fleet.worker("one", seconds=0.0)
    fleet.wait_for_workers(1)
    fleet.ended(fleet.search("--trials", 14))
    afar = [trial.recipe_key for trial in fleet.finished().values()]

    here = f"sqlite:///{tmp_path}/here.db"
    fleet.ended(fleet.search_here(here, 14))
    with Store.open(here) as store:
        assert [trial.recipe_key for trial in store.trials("s")] == afar
    assert len(set(afar)) == 14


@pytest.mark.slow
def test_every_part_dies_once_and_nothing_is_lost(make_fleet: Callable[[str], Any]) -> None:
    """benchmarks/faults.py does the same at random moments, fifty times, with bench processes
    too; test_kill.py kills those of a real search."""
    with PostgresServer() as postgres:
        fleet = make_fleet(postgres.url)
        first = fleet.worker("first", seconds=0.5)
        fleet.wait_for_workers(1)

        search = fleet.search("--trials", 13)
        fleet.wait_for_trials(2)
        search.kill()
        search.wait()
        kept = fleet.finished()

        search = fleet.search("--trials", 13)
        fleet.wait_for_trials(4)
        fleet.redis.kill()
        fleet.redis.start()
        fleet.wait_for_trials(6)
        fleet.redis.kill()
        fleet.redis.forget()
        fleet.redis.start()
        fleet.wait_for_trials(8)
        postgres.kill()
        postgres.start()
        fleet.wait_for_trials(10)

        children = psutil.Process(first.pid).children(recursive=True)
        first.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive, "its child dies with it"
        fleet.worker("second")
        fleet.ended(search)

        # The trials that ran when the coordinator, PostgreSQL and the worker died.
        assert_whole(fleet, 13, repeated=3)
        after = fleet.finished()
        assert {n: after[n] for n in kept} == kept


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
class TestCoordinators:
    def test_interrupt_calls_the_running_trial_off(self, fleet: Any) -> None:
        fleet.worker("one", seconds=60)
        fleet.wait_for_workers(1)
        search = fleet.search("--trials", 8)
        wait_for(lambda: fleet.journal("begin"), 60, "the baseline runs")

        second = fleet.search("--trials", 8)
        output = second.communicate(timeout=60)[0]
        assert second.returncode == 2
        assert "another process is running the study 's'" in output

        search.send_signal(signal.SIGINT)
        output = search.communicate(timeout=60)[0]
        assert search.returncode == 130, output
        wait_for(lambda: "called off" in fleet.logs(), 30, "the worker stops")
        assert not fleet.journal("end")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
class TestBadInput:
    def test_foreign_messages_are_dropped_aloud(self, fleet: Any) -> None:
        fleet.worker("one")
        fleet.wait_for_workers(1)
        (card,) = fleet.cards()
        broker = Broker(fleet.redis.url)
        for given in ([{"protocol": 9, "job": 1}], ["rm -rf /"], [], [{"job": -1, "attempt": 1}]):
            broker.app.send_task(RUN_JOB, args=given, queue=card.queue)
        broker.app.send_task("os.system", args=["true"], queue=card.queue)
        fleet.ended(fleet.search("--trials", 2))
        assert fleet.log_of("one").read_text().count("foreign or malformed message") == 4
        assert "unregistered task" in fleet.log_of("one").read_text()

    def test_no_worker_is_said_before_anything_starts(self, fleet: Any) -> None:
        search = fleet.search()
        output = search.communicate(timeout=60)[0]
        assert search.returncode == 2
        assert "no worker is up; start one on each device with: autotune worker" in output
        with Store.open(fleet.database) as store:
            assert store.studies() == []

    def test_worker_of_another_environment_is_named(self, fleet: Any) -> None:
        fleet.worker("even")
        fleet.wait_for_workers(1)
        fleet.environment["OMP_NUM_THREADS"] = "7"
        fleet.worker("odd")
        fleet.wait_for_workers(2)
        search = fleet.search()
        output = " ".join(search.communicate(timeout=60)[0].split())
        assert search.returncode == 2
        assert "workers of 2 kinds are up, whose numbers cannot be compared" in output
        assert "env:OMP_NUM_THREADS is" in output
        fleet.ended(fleet.search("--trials", 2, "--worker", "odd"))
        assert {line.split()[2] for line in fleet.journal_lines()} == {"odd"}

    @pytest.mark.parametrize("command", ["worker", "search"])
    def test_wrong_password_is_said_at_once(self, fleet: Any, command: str) -> None:
        fleet.environment["AUTOTUNE_BROKER_URL"] = fleet.redis.url.replace("hush", "wrong")
        process = fleet.search() if command == "search" else fleet.real_worker("one")
        printed = process.communicate(timeout=60)[0] or fleet.logs()
        assert process.returncode in (1, 2)
        assert "unreachable or refuses" in printed
        assert "wrong" not in printed.replace("wrong pass", "")


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_search_is_planned_for_the_workers_device(fleet: Any) -> None:
    """The coordinator has no GPU; what it plans is what a GPU can do."""
    fleet.environment["QUICK_DEVICE"] = "cuda"
    fleet.worker("gpu", seconds=0.0)
    fleet.wait_for_workers(1)
    plugins = {"quantize": {"scheme": ["float8_dynamic"]}, "batch": {"size": [1, 8]}}
    keys = yaml.safe_load(fleet.study.read_text())
    fleet.study.write_text(yaml.safe_dump({**keys, "plugins": plugins}))
    output = fleet.ended(fleet.search("--trials", 4))
    assert "on NVIDIA H200" in output
    assert "device_peak_process_bytes" in output
    recipes = [t.recipe for t in fleet.finished().values()]
    assert {"quantize": {"scheme": "float8_dynamic"}} in recipes
    with Store.open(fleet.database) as store:
        assert store.study("s").environment["device"] == "NVIDIA H200"


@pytest.mark.slow
@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_real_search_over_two_real_workers(fleet: Any) -> None:
    for name in ("one", "two"):
        fleet.real_worker(name)
    fleet.wait_for_workers(2)
    output = fleet.ended(fleet.search("--trials", 2), seconds=280)
    assert "fastest" in output
    front = read_front(fleet.folder / "studies/s/front.json")
    assert front.baseline is not None
    logs = [t.result.log for t in fleet.finished().values() if t.result]
    assert {Path(log).parent.parent.name for log in logs} <= {"one", "two"}
    assert all(Path(log).is_file() for log in logs)

"""Fault campaign: kills every part of a fleet at random moments and counts what was lost.

A study of fast trials, each in a bench process of its own, runs over two real workers with a real
Redis and a real PostgreSQL. At random moments a bench process, a worker, the coordinator, Redis
(with or without its data) or PostgreSQL is killed with SIGKILL and, but for the first, started
again. Studies follow each other until there were enough kills.

    python benchmarks/faults.py --kills 50
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from autotune.outcome import Outcome
from fleet_support.fleet import Fleet
from fleet_support.servers import PostgresServer, RedisServer

CRASHED = "crashed with their bench process"
TRIAL_SECONDS = 0.3
STUDY_SECONDS = 600.0


class Campaign:
    """One study, killed at until it completes."""

    def __init__(self, fleet: Fleet, postgres: PostgresServer, trials: int, seed: int) -> None:
        self._fleet = fleet
        self._postgres = postgres
        self._trials = trials
        self._random = random.Random(seed)
        self._names = map("worker-{}".format, itertools.count())
        self._workers = [self._new_worker() for _ in range(2)]
        fleet.wait_for_workers(2)
        self._search = fleet.search("--trials", trials)
        self.kills: Counter[str] = Counter()

    def run(self, kills: int) -> None:
        """Kills so often at most, then lets the study complete."""
        parts: dict[str, Callable[[], bool]] = {
            "bench process": self._kill_bench,
            "worker": self._kill_worker,
            "coordinator": self._kill_coordinator,
            "redis": self._kill_redis,
            "redis and its data": self._kill_redis_and_data,
            "postgresql": self._kill_postgres,
        }
        deadline = time.monotonic() + STUDY_SECONDS
        while self.kills.total() < kills and self._going_on():
            time.sleep(self._random.uniform(0.2, 2.5))
            part = self._random.choice(list(parts))
            self.kills[part] += parts[part]()
        while self._going_on():
            if time.monotonic() > deadline:
                raise AssertionError(f"the study does not complete: {self._fleet.logs()[-3000:]}")
            time.sleep(0.2)

    def _going_on(self) -> bool:
        """Acts as the machine's supervisor: what was started while a server was away, and said
        so, is started again. Any other failure is an error."""
        for index, worker in enumerate(self._workers):
            if worker.poll() is not None:
                self._workers[index] = self._new_worker()
        code = self._search.poll()
        if code not in (None, 0):
            output = self._search.communicate()[0]
            if "is unreachable or refuses" not in output and "no worker is up" not in output:
                raise AssertionError(f"the search ended with {code}: {output}")
            self._search = self._fleet.search("--trials", self._trials)
        return code != 0

    def _new_worker(self) -> subprocess.Popen[str]:
        return self._fleet.worker(next(self._names), TRIAL_SECONDS, bench=True)

    def _kill_bench(self) -> bool:
        """Waits for one: a new worker imports torch first. A search whose baseline fails says so
        and ends, as it should."""
        deadline = time.monotonic() + 60
        while self._going_on():
            if time.monotonic() > deadline:
                raise AssertionError(f"no bench process was seen: {self._fleet.logs()[-3000:]}")
            measured = self._fleet.finished()
            found = [child for w in self._workers for child in self._fleet.benches(w)]
            if measured and found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._random.choice(found).kill()
                    return True
            time.sleep(0.02)
        return False

    def _kill_worker(self) -> bool:
        index = self._random.randrange(len(self._workers))
        self._workers[index].kill()
        self._workers[index].wait()
        self._workers[index] = self._new_worker()
        return True

    def _kill_coordinator(self) -> bool:
        self._search.kill()
        self._search.communicate()
        self._search = self._fleet.search("--trials", self._trials)
        return True

    def _kill_redis(self) -> bool:
        self._fleet.redis.kill()
        self._fleet.redis.start()
        return True

    def _kill_redis_and_data(self) -> bool:
        self._fleet.redis.kill()
        self._fleet.redis.forget()
        self._fleet.redis.start()
        return True

    def _kill_postgres(self) -> bool:
        self._postgres.kill()
        self._postgres.start()
        return True


def check(fleet: Fleet, trials: int) -> Counter[str]:
    """Counts what must be zero, and what may be more."""
    found = fleet.finished()
    for trial in found.values():
        if trial.result and trial.result.explanation:
            print(f"#{trial.number} {trial.result.outcome}: {trial.result.explanation}")
    began, ended = fleet.journal("begin"), fleet.journal("end")
    recipes = Counter(trial.recipe_key for trial in found.values())
    return Counter(
        {
            "trials missing at the end": trials - len(found),
            "trials without numbers": sum(
                not (t.result.metrics or "killed by SIGKILL" in t.result.explanation)
                for t in found.values()
                if t.result
            ),
            CRASHED: sum(t.result.outcome is Outcome.CRASHED for t in found.values() if t.result),
            "recipes stored twice": sum(count - 1 for count in recipes.values()),
            "finished without having been measured": len(set(found) - set(ended)),
            "left running": len(fleet.recipes_left_running()),
            "measured again": sum(count - 1 for count in ended.values()),
            "begun again": sum(count - 1 for count in began.values()),
        }
    )


def main() -> None:
    """Runs the campaign and prints its figures; fails if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--trials", type=int, default=60, help="of each study")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="by default demo tiny, trained first")
    given = parser.parse_args()
    kills: Counter[str] = Counter()
    counts: Counter[str] = Counter()
    studies = 0
    while kills.total() < given.kills:
        done, found = _study(given, given.kills - kills.total(), given.seed + studies)
        kills, counts, studies = kills + done, _add(counts, found), studies + 1
        print(f"study {studies}: {dict(done)}: {dict(found)}", flush=True)
    print(f"{kills.total()} kills in {studies} studies of {given.trials} trials: {dict(kills)}")
    for words, count in counts.items():
        print(f"{words}: {count}")
    allowed = ("measured again", "begun again", CRASHED)
    if any(count for words, count in counts.items() if words not in allowed):
        sys.exit("something was lost")
    if counts[CRASHED] > kills["bench process"]:
        sys.exit("more trials crashed than bench processes were killed")
    if counts["measured again"] > 2 * kills.total():
        sys.exit("more than the running trials was repeated")


def _study(given: argparse.Namespace, kills: int, seed: int) -> tuple[Counter[str], Counter[str]]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "redis").mkdir()
        with PostgresServer() as postgres, RedisServer(folder / "redis") as redis:
            fleet = Fleet(folder, redis, postgres.url, _study_file(folder, given.model))
            try:
                campaign = Campaign(fleet, postgres, given.trials, seed)
                campaign.run(kills)
                return campaign.kills, check(fleet, given.trials)
            finally:
                fleet.close()


def _study_file(folder: Path, model: Path | None) -> Path:
    definition = {
        "name": "s",
        "model": str(model.absolute()) if model else "demo-tiny",
        "plugins": {"batch": {}, "precision": {}, "prune": {"method": ["magnitude"]}},
        "confirm": {"processes": 0},
        "sampler": "random",
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(definition), encoding="utf-8")
    return path


def _add(one: Counter[str], other: Counter[str]) -> Counter[str]:
    """Keeps zeros: they are what this is about."""
    return Counter({words: one[words] + other[words] for words in (*one, *other)})


if __name__ == "__main__":
    main()

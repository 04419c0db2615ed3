"""How many trials a fleet carries, and what a long study costs its coordinator.

    python benchmarks/scale.py --trials 1000 [--workers 2] [--simulated 0]

Runs a study of trials that take no time over real workers, with a real Redis and a real
PostgreSQL, and prints trials per second, and the coordinator's CPU seconds and resident memory
for each tenth of the study. With ``--simulated N``, N threads of this process take part as
workers that speak the same protocol, in place of real ones.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import yaml

from autotune.device import detect
from autotune.environment import ENV_ID, describe_environment
from autotune.execute.fleet.messages import queue_name
from autotune.hashing import sha256_json
from autotune.messages import TrialResult, TrialSpec
from autotune.store import Store
from autotune.testing import fake_result

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from fleet_support.fleet import Fleet
from fleet_support.servers import PostgresServer, RedisServer, wait_for
from fleet_support.simulated import simulated_workers


def instantly(spec: TrialSpec) -> TrialResult:
    """What a simulated worker measures."""
    speed = 100.0 + int(sha256_json(spec.recipe)[:4], 16) / 1000
    return fake_result(
        spec,
        output_tokens_per_second=speed,
        kld_mean_nats=0.0,
        host_model_peak_bytes=1e8,
        weights_bytes=1e7,
    )


def take_part(fleet: Fleet, count: int) -> contextlib.AbstractContextManager[None]:
    """Simulated workers of this machine's kind; none for 0."""
    if not count:
        return contextlib.nullcontext()
    device = detect("cpu")
    with Store.open(fleet.database) as store:
        queue = queue_name(store.identity(), describe_environment(device)[ENV_ID])
    return simulated_workers(
        fleet.redis.url,
        fleet.database,
        count=count,
        queue=queue,
        device=device,
        run=instantly,
    )


def watch(fleet: Fleet, trials: int) -> None:
    """Runs the study and prints a line for each tenth of it."""
    search = fleet.search("--trials", trials)
    printed: list[str] = []
    # It prints a line for each trial: nobody who reads them, and it waits.
    reader = threading.Thread(target=lambda: printed.append(search.communicate()[0]))
    reader.start()
    process = psutil.Process(search.pid)
    begun, step = 0.0, max(1, trials // 10)
    last = (0, time.monotonic(), 0.0)
    with Store.open(fleet.database) as store:
        while search.poll() is None:
            time.sleep(0.5)
            done = store.outcome_counts().get("s", {}).get("ok", 0)
            if not begun and done:
                begun = time.monotonic()
                last = (done, begun, _cpu_seconds(process))
            if done - last[0] >= (step if done < trials else 1):
                now, cpu = time.monotonic(), _cpu_seconds(process)
                count, seconds = done - last[0], now - last[1]
                print(
                    f"{done:6} trials: {count / seconds:5.1f} trials/s, coordinator "
                    f"{1000 * (cpu - last[2]) / count:5.1f} CPU ms per trial, "
                    f"{process.memory_info().rss / 2**20:4.0f} MiB",
                    flush=True,
                )
                last = (done, now, cpu)
    reader.join()
    print(f"       its end: {time.monotonic() - last[1]:5.1f} s after the last line")
    print(printed[0][-300:])


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Runs one study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--simulated", type=int, default=0, help="threads in place of workers")
    parser.add_argument("--model", type=Path, help="by default demo tiny, trained first")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "redis").mkdir()
        study = folder / "study.yaml"
        definition = {
            "name": "s",
            "model": str(given.model.absolute()) if given.model else "demo-tiny",
            "sampler": "random",
            "confirm": {"processes": 0},
        }
        study.write_text(yaml.safe_dump(definition), encoding="utf-8")
        with PostgresServer() as postgres, RedisServer(folder / "redis") as redis:
            fleet = Fleet(folder, redis, postgres.url, study)
            count = given.simulated or given.workers
            with contextlib.closing(fleet), take_part(fleet, given.simulated):
                for i in range(0 if given.simulated else given.workers):
                    fleet.worker(f"worker-{i}", seconds=0.0)
                wait_for(lambda: len(fleet.cards()) == count, 120, f"{count} workers are up")
                watch(fleet, given.trials)


if __name__ == "__main__":
    main()

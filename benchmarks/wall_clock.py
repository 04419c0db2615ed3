"""How much sooner autotune finds the front of a recorded table than Optuna alone.

    python benchmarks/wall_clock.py [--table benchmarks/tables/recorded.csv] [--repeats 3]

Runs `autotune search` and benchmarks/plain_optuna.py in turn, with real measurements, on the space
of studies/recorded.yaml, and prints the seconds from the start of the command until the recipes
that were tried hold 95 % (99 %) of the hypervolume of the recorded table: what a recipe is worth
is looked up there, so that no search profits from its noise. Each run begins with an empty cache
and database. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).parents[1])

from autotune.config import WorkloadFile
from autotune.demo.cache import demo_model
from autotune.store import Store
from autotune.tables import Table, read_table
from autotune.workload.text import read_texts
from benchmarks.search.coverage import Coverage, evaluations_to

HERE = Path(__file__).parent
STUDY = HERE.parent / "studies/recorded.yaml"
TARGETS = (0.95, 0.99)
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Tried:
    """Table rows in the order in which they were measured, and when each was, in seconds."""

    rows: list[int | None]
    """None: one that the table does not have."""
    seconds: list[float]


class Runs:
    """Runs commands until the table's front is found."""

    def __init__(self, table: Table, limit_seconds: float) -> None:
        self._table = table
        self._coverage = Coverage(table)
        self._limit_seconds = limit_seconds

    def run(self, command: list[str], folder: Path, tried: Callable[[float], Tried]) -> Tried:
        """What a command has tried until it ended, found 99 %, or took too long."""
        environment = os.environ | {"AUTOTUNE_CACHE_DIR": str(folder / "cache")}
        began = time.time()
        with (folder / "output").open("wb") as output:
            child = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=output
            )
            while child.poll() is None:
                time.sleep(POLL_SECONDS)
                late = time.time() - began > self._limit_seconds
                if late or self.reached(tried(began), TARGETS[-1]):
                    child.terminate()
                    child.wait()
        done = tried(began)
        if not done.rows:
            raise SystemExit((folder / "output").read_text(encoding="utf-8", errors="replace"))
        return done

    def reached(self, tried: Tried, target: float) -> tuple[int, float] | None:
        """Evaluations and seconds to a share of the hypervolume."""
        found = evaluations_to(self._coverage.history(list(tried.rows)), target)
        return None if found is None else (found, tried.seconds[found - 1])

    def words(self, tried: Tried, reached: list[tuple[int, float] | None]) -> str:
        """What a person should know of a run."""
        told = [
            f"{target:.0%} " + (f"after {r[1]:.0f} s, {r[0]} trials" if r else "not reached")
            for target, r in zip(TARGETS, reached, strict=True)
        ]
        final = self._coverage.history(list(tried.rows))[-1]
        told.append(
            f"at the end {final:.1%} after {tried.seconds[-1]:.0f} s, {len(tried.rows)} trials, "
            f"{len(set(tried.rows))} different"
        )
        return "; ".join(told)


def tried_by_autotune(table: Table, folder: Path) -> Callable[[float], Tried]:
    """Reads a study's database."""
    numbers = {row.recipe_key: i for i, row in enumerate(table.rows)}
    database = folder / "studies/autotune.db"

    def read(began: float) -> Tried:
        if not database.exists():
            return Tried([], [])
        with Store.open_existing(f"sqlite:///{database}") as store:
            trials = [t for t in store.trials("wall-clock") if t.finished_at]
        zero = datetime.fromtimestamp(began, UTC)
        ended = sorted((t.finished_at - zero).total_seconds() for t in trials if t.finished_at)
        trials.sort(key=lambda t: t.finished_at or zero)
        return Tried([numbers.get(t.recipe_key) for t in trials], ended)

    return read


def tried_by_optuna(table: Table, log: Path) -> Callable[[float], Tried]:
    """Reads the script's log."""
    numbers = table.index()

    def read(_: float) -> Tried:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        trials = [json.loads(line) for line in lines]
        keys = [tuple(t["params"][name] for name in table.params) for t in trials]
        return Tried([numbers.get(key) for key in keys], [t["seconds"] for t in trials])

    return read


def run_autotune(
    runs: Runs, table: Table, model: str, _text: Path, seed: int, folder: Path
) -> Tried:
    """One search."""
    command = [str(Path(sys.executable).with_name("autotune")), "search", "--study", str(STUDY)]
    command += ["--name", "wall-clock", "--model", model, "--seed", str(seed)]
    command += ["--trials", str(len(table.rows)), "--confirm", "0"]
    return runs.run(command, folder, tried_by_autotune(table, folder))


def run_optuna(runs: Runs, table: Table, model: str, text: Path, seed: int, folder: Path) -> Tried:
    """One run of the script."""
    log = folder / "log"
    command = [sys.executable, str(HERE / "plain_optuna.py"), "--model", model]
    command += ["--text", str(text), "--log", str(log), "--seed", str(seed)]
    command += ["--trials", "100000"]
    return runs.run(command, folder, tried_by_optuna(table, log))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--table", type=Path, default=HERE / "tables/recorded.csv")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit-minutes", type=float, default=20)
    given = parser.parse_args()
    table = read_table(given.table)
    runs = Runs(table, given.limit_minutes * 60)
    model, text = demo_model("tiny"), read_texts(WorkloadFile())[0][0]
    found: dict[str, list[list[float]]] = {"autotune": [], "Optuna": []}
    for seed in range(given.repeats):
        for name, search in (("autotune", run_autotune), ("Optuna", run_optuna)):
            with tempfile.TemporaryDirectory() as folder:
                tried = search(runs, table, str(model), text, seed, Path(folder))
            reached = [runs.reached(tried, target) for target in TARGETS]
            print(f"seed {seed}, {name}: {runs.words(tried, reached)}", flush=True)
            found[name].append([r[1] if r else float("inf") for r in reached])
    for i, target in enumerate(TARGETS):
        ours, theirs = (statistics.median(run[i] for run in found[n]) for n in found)
        print(f"to {target:.0%}: median {ours:.0f} s against {theirs:.0f} s: {theirs / ours:.1f}x")


if __name__ == "__main__":
    main()

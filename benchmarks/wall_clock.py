"""How much sooner autotune finds the front of a recorded table than Optuna alone.

    python benchmarks/wall_clock.py [--table benchmarks/tables/recorded.csv] [--repeats 3]

Runs `autotune search` and benchmarks/plain_optuna.py in turn, with real measurements, on the space
of studies/recorded.yaml, and prints the seconds from the start of the command until the recipes
that were tried hold 95 % of the hypervolume of the recorded table: what a recipe is worth
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
from autotune.outcome import Outcome
from autotune.store import Store
from autotune.tables import Table, read_table
from autotune.workload.text import read_texts
from benchmarks.search.coverage import Coverage, evaluations_to

HERE = Path(__file__).parent
STUDY = HERE.parent / "studies/recorded.yaml"
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Tried:
    """Table rows in the order in which they were measured, and when each was, in seconds; not
    what autotune ended early because others are better."""

    rows: list[int]
    seconds: list[float]


class Runs:
    """Runs commands until enough of the table's front is found."""

    def __init__(self, table: Table, target: float, limit_seconds: float) -> None:
        """
        Args:
            table: Its front is looked for.
            target: A share of its hypervolume.
            limit_seconds: Of each command.
        """
        self._coverage = Coverage(table)
        self._target, self._limit_seconds = target, limit_seconds

    def run(self, command: list[str], folder: Path, tried: Callable[[float], Tried]) -> Tried:
        """What a command has tried until it ended, found enough, or took too long."""
        environment = os.environ | {"AUTOTUNE_CACHE_DIR": str(folder / "cache")}
        began = time.time()
        with (folder / "output").open("wb") as output:
            child = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=output, stderr=output
            )
            while child.poll() is None:
                time.sleep(POLL_SECONDS)
                late = time.time() - began > self._limit_seconds
                if late or self.reached(tried(began)):
                    child.terminate()
                    child.wait()
                    return tried(began)
        if child.returncode:
            raise SystemExit((folder / "output").read_text(encoding="utf-8", errors="replace"))
        return tried(began)

    def reached(self, tried: Tried) -> tuple[int, float] | None:
        """Evaluations and seconds until enough was found."""
        found = evaluations_to(self._coverage.history(tried.rows), self._target)
        return None if found is None else (found, tried.seconds[found - 1])

    def words(self, tried: Tried) -> str:
        """What a person should know of a run."""
        reached = self.reached(tried)
        if reached:
            count, seconds = reached
            return (
                f"{self._target:.0%} after {seconds:.0f} s, {count} trials, "
                f"{len(set(tried.rows[:count]))} different"
            )
        final = self._coverage.history(tried.rows)[-1]
        return (
            f"{self._target:.0%} not reached: {final:.1%} after {tried.seconds[-1]:.0f} s, "
            f"{len(tried.rows)} trials, {len(set(tried.rows))} different"
        )


def tried_by_autotune(table: Table, folder: Path) -> Callable[[float], Tried]:
    """Reads a study's database."""
    numbers = {row.recipe_key: i for i, row in enumerate(table.rows)}
    database = folder / "studies/autotune.db"

    def read(began: float) -> Tried:
        if not database.exists():
            return Tried([], [])
        with Store.open_existing(f"sqlite:///{database}") as store:
            trials = store.trials("wall-clock")
        ok = [t for t in trials if t.result and t.result.outcome is Outcome.OK]
        zero = datetime.fromtimestamp(began, UTC)
        ended = sorted(
            ((t.finished_at - zero).total_seconds(), numbers[t.recipe_key])
            for t in ok
            if t.finished_at
        )
        return Tried([row for _, row in ended], [seconds for seconds, _ in ended])

    return read


def tried_by_optuna(table: Table, log: Path) -> Callable[[float], Tried]:
    """Reads the script's log."""
    numbers = table.index()

    def read(_: float) -> Tried:
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        trials = [json.loads(line) for line in lines]
        keys = [tuple(t["params"][name] for name in table.params) for t in trials]
        return Tried([numbers[key] for key in keys], [t["seconds"] for t in trials])

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
    parser.add_argument("--target", type=float, default=0.95, help="share of the hypervolume")
    parser.add_argument("--limit-minutes", type=float, default=20, help="of each run")
    given = parser.parse_args()
    table = read_table(given.table)
    runs = Runs(table, given.target, given.limit_minutes * 60)
    model, text = demo_model("tiny"), read_texts(WorkloadFile())[0][0]
    found: dict[str, list[float]] = {"autotune": [], "Optuna": []}
    for seed in range(given.repeats):
        for name, search in (("autotune", run_autotune), ("Optuna", run_optuna)):
            with tempfile.TemporaryDirectory() as folder:
                tried = search(runs, table, str(model), text, seed, Path(folder))
            print(f"seed {seed}, {name}: {runs.words(tried)}", flush=True)
            reached = runs.reached(tried)
            found[name].append(reached[1] if reached else tried.seconds[-1])
    ours, theirs = map(statistics.median, found.values())
    times = f"median {ours:.0f} s against {theirs:.0f} s: {theirs / ours:.1f}x"
    print(f"to {given.target:.0%}: {times}")
    print("A run that did not get there counts with the seconds that it had.")


if __name__ == "__main__":
    main()

"""What an earlier study of a similar or of another system gives to a search, or takes from it.

    python -m benchmarks.search.warm [--seeds 10] [--trials 250] [--earlier-trials 100]

For each pair of tables: autotune's own search of the first one; then one of the second that knows
what the first has measured, and one that knows nothing, with the same seeds. Prints the median
evaluations to 95 % and 99 % of the second table's hypervolume, and their geometric mean ratio over
seeds with its standard error. How similar two tables are is told by the share of the second's
hypervolume that the whole front of the first covers when copied: what is half or more is called
similar. Tables whose measured rows are dealt out anew at random are dissimilar by construction:
what the earlier study says of a configuration is wrong.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).parents[2])

import numpy as np  # noqa: E402 - what stands above comes first
from numpy.typing import NDArray  # noqa: E402

from autotune.surrogate.improvement import not_dominated  # noqa: E402
from autotune.tables import Table, read_table  # noqa: E402
from benchmarks.search.coverage import Coverage, evaluations_to  # noqa: E402
from benchmarks.search.pool import tried_alone  # noqa: E402

TABLES = Path(__file__).parents[1] / "tables"
TARGETS = (0.95, 0.99)
Counts = NDArray[np.int64]
CONVOLUTION = "convolution_milo_{}_T4.json.gz"
PAIRS = (
    (CONVOLUTION.format("A4000"), CONVOLUTION.format("A100")),
    (CONVOLUTION.format("A100"), CONVOLUTION.format("A4000")),
    ("recorded.csv", "recorded_small.csv"),
    ("recorded_small.csv", "recorded.csv"),
    ("SS-C.csv", "SS-A.csv"),
    ("SS-A.csv", "SS-C.csv"),
    *((name, name) for name in ("SS-A.csv", "SS-I.csv", "SS-L.csv", "SS-M.csv", "SS-O.csv")),
    ("recorded.csv", "recorded.csv"),
)
"""First and second; a table and itself: dealt anew."""
SIMILAR = 0.5


def dealt_anew(table: Table, seed: int) -> Table:
    """The same measurements of other configurations."""
    params = [row.params for row in table.rows]
    random.Random(seed).shuffle(params)
    rows = [
        dataclasses.replace(row, params=own) for row, own in zip(table.rows, params, strict=True)
    ]
    return dataclasses.replace(table, rows=tuple(rows))


def copied_share(first: str, second: str) -> float:
    """Of the second table's hypervolume, what the front of the first one covers there."""
    known, table = read_table(TABLES / first), read_table(TABLES / second)
    losses = {i: loss for i, loss in enumerate(Coverage(known).losses) if loss is not None}
    on_front = not_dominated(np.array(list(losses.values())))
    front = [known.rows[i].params for i, on in zip(losses, on_front, strict=True) if on]
    places = {row.params: i for i, row in enumerate(table.rows)}
    return Coverage(table).history([places.get(params) for params in front])[-1]


def compare(job: tuple[str, str, int, int, int]) -> list[tuple[int, int]]:
    """For each target the evaluations of a cold and of a warm search; trials + 1: never."""
    first, second, seed, trials, earlier_trials = job
    known, table = read_table(TABLES / first), read_table(TABLES / second)
    if first == second:
        known = dealt_anew(known, seed)
    earlier = tried_alone(known, seed + 1000, earlier_trials)[1]
    coverage = Coverage(table)
    found = []
    for told in ([], earlier):
        history = coverage.history(tried_alone(table, seed, trials, told)[0])
        found.append([evaluations_to(history, target) or trials + 1 for target in TARGETS])
    return list(zip(*found, strict=True))


def kind_of(first: str, second: str) -> str:
    """How alike two tables are, in words."""
    if first == second:
        return "dissimilar, dealt anew"
    share = copied_share(first, second)
    word = "similar" if share >= SIMILAR else "dissimilar"
    return f"{word}, a copied front covers {share:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=250)
    parser.add_argument("--earlier-trials", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    spawn = get_context("spawn")
    with ProcessPoolExecutor(given.jobs, mp_context=spawn) as processes:
        for pair in PAIRS:
            jobs = [
                (*pair, seed, given.trials, given.earlier_trials) for seed in range(given.seeds)
            ]
            found = np.array(list(processes.map(compare, jobs)))  # [seeds, targets, cold and warm]
            print(f"{pair[0]} before {pair[1]} ({kind_of(*pair)})")
            for target, of_target in zip(TARGETS, found.transpose(1, 2, 0), strict=True):
                print(f"  to {target:.0%}: {_line(*of_target)}", flush=True)


def _line(cold: Counts, warm: Counts) -> str:
    ratios = np.log(cold / warm)
    error = float(np.exp(ratios.std() / max(len(ratios) - 1, 1) ** 0.5))
    return (
        f"cold {np.median(cold):.0f}, warm {np.median(warm):.0f} evaluations (medians); "
        f"cold/warm {np.exp(ratios.mean()):.2f}, times or over {error:.2f}"
    )


if __name__ == "__main__":
    main()

"""What an earlier study of a similar or of another system gives to a search, or takes from it.

    python -m benchmarks.search.warm [--seeds 10] [--trials 150] [--earlier-trials 100]

For each pair of tables: autotune's own search of the first one; then one of the second that knows
what the first has measured, and one that knows nothing, with the same seeds. Prints the median
evaluations to 95 % and 99 % of the second table's hypervolume, and their geometric mean ratio over
seeds. Two tables are similar if they are one system in two versions or on two machines; the
dissimilar ones are tables whose measured rows are dealt out anew at random, so that what the
earlier study says of a configuration is wrong.
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

from autotune.tables import Table, read_table  # noqa: E402
from benchmarks.search.coverage import Coverage, evaluations_to  # noqa: E402
from benchmarks.search.pool import tried_alone  # noqa: E402

TABLES = Path(__file__).parents[1] / "tables"
TARGETS = (0.95, 0.99)
CONVOLUTION = "convolution_milo_{}_T4.json.gz"
PAIRS = (
    ("similar", CONVOLUTION.format("A4000"), CONVOLUTION.format("A100")),
    ("similar", CONVOLUTION.format("A100"), CONVOLUTION.format("A4000")),
    ("similar", "SS-C.csv", "SS-A.csv"),
    ("similar", "SS-A.csv", "SS-C.csv"),
    ("dissimilar", "SS-A.csv", "SS-A.csv"),
    ("dissimilar", "SS-I.csv", "SS-I.csv"),
    ("dissimilar", "SS-L.csv", "SS-L.csv"),
    ("dissimilar", "SS-M.csv", "SS-M.csv"),
    ("dissimilar", "SS-O.csv", "SS-O.csv"),
)


def dealt_anew(table: Table, seed: int) -> Table:
    """The same measurements of other configurations."""
    params = [row.params for row in table.rows]
    random.Random(seed).shuffle(params)
    rows = [
        dataclasses.replace(row, params=own) for row, own in zip(table.rows, params, strict=True)
    ]
    return dataclasses.replace(table, rows=tuple(rows))


def compare(job: tuple[str, str, str, int, int, int]) -> list[tuple[int, int]]:
    """For each target the evaluations of a cold and of a warm search; trials + 1: never."""
    kind, first, second, seed, trials, earlier_trials = job
    known, table = read_table(TABLES / first), read_table(TABLES / second)
    if kind == "dissimilar":
        known = dealt_anew(known, seed)
    earlier = tried_alone(known, seed + 1000, earlier_trials)[1]
    coverage = Coverage(table)
    found = []
    for told in ([], earlier):
        history = coverage.history(tried_alone(table, seed, trials, told)[0])
        found.append([evaluations_to(history, target) or trials + 1 for target in TARGETS])
    return list(zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=150)
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
            print(f"{pair[0]}: {pair[1]} before {pair[2]}")
            for target, of_target in zip(TARGETS, found.transpose(1, 2, 0), strict=True):
                cold, warm = of_target
                ratio = float(np.exp(np.log(cold / warm).mean()))
                print(
                    f"  to {target:.0%}: cold {np.median(cold):.0f}, warm {np.median(warm):.0f} "
                    f"evaluations (medians); cold/warm {ratio:.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""How often a search runs out of memory once it has seen what does.

    python -m benchmarks.search.oom [--seeds 10] [--trials 150] [--keep FILE]

A table by formula, of a language model on a device whose memory a quarter of the configurations
exceed: batch and context lengths, formats of weights and cache, attention kernels and devices.
Each trial that runs shows its peak, as every trial of a search does; what fails shows only that it
failed. Prints for autotune's search and for random search how many of the trials after the 20th
failed, and the evaluations to 95 % and 99 % of the hypervolume. ``--keep`` writes the table,
for ``benchmarks/search --tables FILE``.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from itertools import product
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).parents[2])

import numpy as np  # noqa: E402 - what stands above comes first

from autotune.outcome import Outcome  # noqa: E402
from autotune.params import Scalar  # noqa: E402
from autotune.tables import Objective, Row, Table, write_table  # noqa: E402
from benchmarks.search.coverage import Coverage, evaluations_to  # noqa: E402
from benchmarks.search.pool import tried_alone  # noqa: E402

_PEAK = "device_peak_process_bytes"
_FAILING = 0.25
_SEEN_AFTER = 20
_WEIGHTS = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0}
_CACHE = {"bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
_LAYERS, _WIDTH, _PARAMS = 32, 1024, 7e9
"""A model with grouped queries, about as large as those that one device just holds."""


def peak_bytes(
    batch: int, context: int, weights: str, cache: str, eager: bool, gpus: int
) -> float:
    """Weights, key-value cache, and what an unfused attention keeps."""
    held = _PARAMS * _WEIGHTS[weights] / gpus
    kept = 2 * _LAYERS * _WIDTH * batch * context * _CACHE[cache] / gpus
    scores = batch * 32 * context * context * 2 / gpus if eager else 0.0
    return held + kept + scores


def oom_table() -> Table:
    """1,728 configurations; the quarter that needs most fails."""
    names = ("batch", "context", "weights", "cache", "attention", "gpus")
    values: list[tuple[Scalar, ...]] = list(
        product(
            (1, 2, 4, 8, 16, 32, 64, 128),
            (512, 1024, 2048, 4096, 8192, 16384),
            _WEIGHTS,
            _CACHE,
            ("eager", "fused"),
            (1, 2),
        )
    )
    peaks = [peak_bytes(b, c, w, k, a == "eager", g) for b, c, w, k, a, g in values]  # type: ignore[arg-type]
    limit = float(np.quantile(peaks, 1 - _FAILING))
    rows = [_row(own, peak, limit) for own, peak in zip(values, peaks, strict=True)]
    objectives = (Objective("tokens_per_second", True), Objective("loss_nats", False))
    return Table("oom", names, objectives, tuple(rows))


def _row(values: tuple[Scalar, ...], peak: float, limit: float) -> Row:
    if peak > limit:
        return Row(values, Outcome.OUT_OF_MEMORY)
    batch, context, weights, cache, attention, gpus = values
    kept = 2 * _LAYERS * _WIDTH * float(batch) * float(context) * _CACHE[str(cache)]
    read = (_PARAMS * _WEIGHTS[str(weights)] + kept) / float(gpus)
    seconds = read / 2e12 * (1.3 if attention == "eager" else 1.0) + 2e-4 * float(gpus)
    loss = 0.002 + {"float32": 0.0, "bfloat16": 0.001, "int8": 0.02}[str(weights)]
    loss += {"bfloat16": 0.0, "int8": 0.005, "int4": 0.06}[str(cache)] + 0.3 / float(
        context
    ) ** 0.5
    metrics = {"tokens_per_second": float(batch) / seconds, "loss_nats": loss, _PEAK: peak}
    return Row(values, metrics=metrics)


def searched(table: Table, seed: int, trials: int) -> list[int]:
    """Row numbers in the order in which autotune tries them."""
    return tried_alone(table, seed, trials)[0]


def shuffled(table: Table, seed: int, _trials: int) -> list[int]:
    """All rows in a random order."""
    rows = list(range(len(table.rows)))
    random.Random(seed).shuffle(rows)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--keep", type=Path)
    given = parser.parse_args()
    table = oom_table()
    if given.keep:
        write_table(table, given.keep)
    coverage = Coverage(table)
    failing = [not row.valid for row in table.rows]
    print(f"{len(table.rows)} configurations, {np.mean(failing):.1%} run out of memory")
    for name, choose in (("random", shuffled), ("autotune", searched)):
        failed, reached = [], []
        for seed in range(given.seeds):
            rows = choose(table, seed, given.trials)
            failed += [failing[row] for row in rows[_SEEN_AFTER : given.trials]]
            history = coverage.history([row if table.rows[row].valid else None for row in rows])
            reached.append([evaluations_to(history, target) or np.inf for target in (0.95, 0.99)])
        medians = " and ".join(f"{m:.0f}" for m in np.median(np.array(reached), axis=0))
        print(
            f"{name}: {np.mean(failed):.2%} of the trials after the {_SEEN_AFTER}th fail; "
            f"{medians} evaluations to 95 % and 99 %",
            flush=True,
        )


if __name__ == "__main__":
    main()

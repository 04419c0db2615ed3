"""Replays recorded tables under several samplers, and says how soon each finds the front.

    python benchmarks/search --tables SS-C.csv SS-M.csv --samplers random,tpe,autotune --seeds 10

Every table that docs/pages/reference/tables.md describes can be given; by default those of
benchmarks/tables. For each table and sampler: evaluations and simulated seconds to 95 % and 99 %
of the table's hypervolume (median and quartiles over seeds), how many seeds never got there,
duplicate and invalid suggestions and the final hypervolume within --trials, CPU seconds per
suggestion. Then the ratios against random search without repeats and against the best stock
sampler of each table, with a paired Wilcoxon test over seeds. All samplers have the same workers,
clock, failures and reuse of prepared processes and known accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

# One thread for each process; before anything imports numpy.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
if not __package__:  # run as a folder
    sys.path[0] = str(Path(__file__).parents[2])

from autotune.errors import InputError  # noqa: E402 - what stands above comes first
from benchmarks.search.printing import ratio_lines, table_lines  # noqa: E402
from benchmarks.search.replay import (  # noqa: E402
    OURS,
    RANDOM,
    STOCK,
    TARGETS,
    Job,
    Run,
    replay,
)

TABLES = Path(__file__).parents[1] / "tables"
SAMPLERS = (RANDOM, *STOCK, OURS)


def main() -> None:
    """Replays, and prints."""
    given = _parse()
    jobs = [
        Job(
            table=table,
            sampler=sampler,
            seed=seed,
            trials=min(given.trials, given.gp_trials) if sampler == "gp" else given.trials,
            workers=given.workers,
            loss_ratio=given.loss_ratio,
            default=given.default,
        )
        for table in given.tables
        for sampler in given.samplers
        for seed in range(given.seeds)
    ]
    tables: dict[str, dict[str, list[Run]]] = {}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as processes:
        for run in processes.map(replay, jobs):
            mine = tables.setdefault(run.table, {}).setdefault(run.sampler, [])
            mine.append(run)
            if len(mine) == given.seeds and len(tables[run.table]) == len(given.samplers):
                _print([f"{run.table}", *table_lines(tables[run.table])])
    for target in TARGETS:
        words = (
            f"how many times as many evaluations others need to {target:.0%} of the hypervolume"
        )
        _print([words, *ratio_lines(tables, target)])
    if given.json:
        given.json.write_text(json.dumps(_kept(given, tables)), encoding="utf-8")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", nargs="+", type=_table, default=_different_tables())
    parser.add_argument(
        "--samplers",
        type=_samplers,
        default="random,tpe,tpe_multivariate,nsga2,autotune",
        help=f"of {', '.join(SAMPLERS)}; all but gp by default",
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument(
        "--trials", type=int, default=200, help="of each search; random goes through the table"
    )
    parser.add_argument("--gp-trials", type=int, default=60, help="of the slow sampler gp")
    parser.add_argument("--workers", type=int, default=1, help="simulated")
    parser.add_argument("--loss-ratio", type=float, default=0.0, help="trials whose worker dies")
    parser.add_argument(
        "--default",
        choices=("first", "random"),
        default="random",
        help="the row that autotune takes for the default and measures first",
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes of this benchmark")
    parser.add_argument("--json", type=Path, help="keep every run in this file")
    given = parser.parse_args()
    stems = [path.name for path in given.tables]
    if len(set(stems)) < len(stems):
        parser.error("tables are told apart by the names of their files: two have the same")
    return given


def _own_tables() -> Iterable[Path]:
    return (p for p in TABLES.iterdir() if p.name.endswith((".csv", ".json.gz")))


def _different_tables() -> list[Path]:
    """SS-P is SS-L under other names, and would count twice."""
    return sorted(p for p in _own_tables() if p.name != "SS-P.csv")


def _table(name: str) -> Path:
    """A file, or the name of one of benchmarks/tables."""
    found = next((p for p in (Path(name), TABLES / name) if p.is_file()), None)
    if found is None:
        known = ", ".join(sorted(p.name for p in _own_tables()))
        raise argparse.ArgumentTypeError(f"no file {name}; benchmarks/tables has {known}")
    return found


def _samplers(names: str) -> list[str]:
    chosen = list(dict.fromkeys(names.split(",")))
    for name in chosen:
        if name not in SAMPLERS:
            raise argparse.ArgumentTypeError(f"no {name!r}; there are {', '.join(SAMPLERS)}")
    return chosen


def _print(lines: Iterable[str]) -> None:
    print("\n".join(lines), end="\n\n", flush=True)


def _kept(given: argparse.Namespace, tables: dict[str, dict[str, list[Run]]]) -> object:
    options = {name: str(value) for name, value in vars(given).items()}
    runs = [asdict(run) for mine in tables.values() for found in mine.values() for run in found]
    return {"options": options, "runs": runs}


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(str(error))

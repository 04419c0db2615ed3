"""How long a search takes to go on with a long study.

    python benchmarks/reopening.py [--trials 28000] [--model demo-tiny] [--keep FOLDER]

Writes a study of so many made-up trials through the calls of a search, one in ten failed. Then
prints what it takes to go on with it, in seconds and CPU seconds: to open the database, to read
the trials and take them in, and to choose the next recipe. Coding the pool comes first in a new
study too, and stands by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import tempfile
from pathlib import Path
from typing import NoReturn

from report import KLD, MEMORY, SPEED, told

from autotune.config import StudyFile
from autotune.execute.base import OnProgress
from autotune.messages import BlockPair, Measurement, Metrics, RecipeDict, TrialResult
from autotune.metrics import metric
from autotune.outcome import Outcome
from autotune.search.ledger import Ledger
from autotune.search.loop import Search
from autotune.search.observer import Observer
from autotune.search.plan import Plan, make_plan
from autotune.search.pool_code import PoolCode
from autotune.search.register import register
from autotune.store import Store

TIMES = ("ttft_seconds", "tpot_seconds", "e2e_latency_seconds")


def long_plan(model: str, folder: Path) -> Plan:
    study = StudyFile.model_validate(
        {"name": "long", "model": model, "confirm": {"processes": 0}, "warm_start": False}
    )
    return make_plan(study, folder / "studies", lambda *_: None)


def result(number: int, recipe: RecipeDict, rng: random.Random) -> TrialResult:
    if number and rng.random() < 0.1:
        return TrialResult(number=number, outcome=Outcome.CRASHED, explanation="SIGSEGV")
    speed = 60 * (1 + 0.02 * len(recipe)) * rng.uniform(0.8, 1.25)
    values = {SPEED: speed, **{name: 10 / speed for name in TIMES}}
    found: Metrics = {name: timed(name, value) for name, value in values.items()}
    found[MEMORY] = Measurement(value=1e8 * rng.uniform(0.5, 1), unit="B")
    found["weights_bytes"] = Measurement(value=1e7 * rng.uniform(0.5, 1), unit="B")
    found[KLD] = Measurement(value=1e-3 * rng.uniform(0, 1), unit="nat")
    pair = BlockPair(candidate={SPEED: 2.0}, reference={SPEED: 1.0}, candidate_first=True)
    phases = {"prepare": 5.0, "score": 1.0, "warmup": 0.5, "measure": 4.0}
    return TrialResult(
        number=number,
        outcome=Outcome.OK,
        metrics=found,
        blocks=(pair,) * 8,
        phase_seconds=phases,
    )


def timed(name: str, value: float) -> Measurement:
    low, high = 0.98 * value, 1.02 * value
    return Measurement(value=value, unit=metric(name).unit, ci_low=low, ci_high=high, n=8)


def record(plan: Plan, store: Store, url: str, count: int) -> None:
    """Through the ledger, which writes to both records."""
    rng = random.Random(0)
    register(plan, store, resume=False)
    code = PoolCode(plan.pool.recipes, plan.registry.plugins)
    others = rng.sample(range(1, len(code.recipes)), count - 1)
    with contextlib.closing(Ledger(plan, store, url, code)) as ledger:
        for number, index in enumerate([0, *others]):
            trial, _ = ledger.begin(code.recipes[index])
            ledger.finish(trial, result(number, trial.recipe, rng))


def no_executor(_on_progress: OnProgress) -> NoReturn:
    raise AssertionError("nothing is measured here")


def go_on(plan: Plan, url: str) -> None:
    with told("opening the database"):
        store = Store.open(url)
    with told("coding the pool"):
        PoolCode(plan.pool.recipes, plan.registry.plugins)
    with store:
        with told("coding the pool, and what a search needs besides"):
            search = Search(plan, store, url, no_executor, Observer())
        with told("reading the trials and taking them in"):
            search._take_up()
        with told("choosing the next recipe"):
            search._sampler.next_recipe()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=28_000)
    parser.add_argument("--model", default="demo-tiny")
    parser.add_argument("--keep", type=Path, help="write the database there, and keep it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        plan = long_plan(given.model, folder)
        url = f"sqlite:///{folder}/autotune.db"
        with Store.open(url) as store:
            known = store.find_study(plan.name)
            if known is None:
                with told(
                    f"{given.trials:,} trials of {len(plan.pool.recipes):,} recipes written"
                ):
                    record(plan, store, url, given.trials)
        go_on(plan, url)


if __name__ == "__main__":
    main()

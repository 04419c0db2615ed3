"""What one request for a study costs: our dashboard beside optuna-dashboard as it is.

    python benchmarks/dashboard.py [--trials 1000]

Makes a study of so many trials of four objectives in an SQLite file, and asks both applications
for it as the page does, alternating, without a network between: for all of it, as when the page
is opened, and for its latest trial, as every few seconds while it is open. Prints seconds of CPU
and megabytes (the median of three), and what our first request takes: the study is then read and
computed, and stays so until it changes.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import optuna_dashboard
from optuna.storages import get_storage

from autotune.dashboard.app import make_app
from autotune.dashboard.views import Views
from autotune.messages import Measurement, TrialResult
from autotune.recipe import RecipeKeys
from autotune.search.storage import open_storage
from autotune.store.database import parse_url
from autotune.store.store import Store

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from known_study import SPEED, any_recipe, metrics_of

OBJECTIVES = {
    SPEED: "maximize",
    "weights_bytes": "minimize",
    "host_model_peak_bytes": "minimize",
    "kld_mean_nats": "minimize",
}


def fill(url: str, trials: int) -> None:
    """Writes the study into both records."""
    rng = random.Random(0)
    storage = open_storage(parse_url(url))
    study = optuna.create_study(
        storage=storage, study_name="s", directions=list(OBJECTIVES.values())
    )
    told = []
    with Store.open(url) as store:
        store.create_study("s", {"model": "m"}, list(OBJECTIVES), [], {})
        for number in range(trials):
            recipe = any_recipe(rng) if number else {}
            metrics = metrics_of(recipe, rng, 0.1)
            peak = rng.uniform(1e8, 2e8)
            metrics["host_model_peak_bytes"] = Measurement(value=peak, unit="B")
            store.start_trial("s", number, recipe, RecipeKeys("o", "s", f"{number}"))
            result = TrialResult(number=number, outcome="ok", metrics=metrics)  # type: ignore[arg-type]
            store.finish_trial("s", result)
            values = [metrics[name].value or 0.0 for name in OBJECTIVES]
            told.append(optuna.create_trial(values=values))
    study.add_trials(told)
    storage.engine.dispose()


def request(app: Callable[..., Any], after: int = 0) -> tuple[float, int]:
    """Asks for the study's trials from one on; CPU seconds and bytes."""
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/api/studies/1",
        "QUERY_STRING": f"after={after}",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
    }
    begun = time.process_time()
    status: list[str] = []
    body = b"".join(app(environ, lambda given, *_: status.append(given)))
    if status != ["200 OK"]:
        raise SystemExit(f"{status}: {body[:300]!r}")
    return time.process_time() - begun, len(body)


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/autotune.db"
        fill(url, given.trials)
        storage = get_storage(open_storage(parse_url(url)))
        # Made first, and asked in between: only requests for our studies are changed.
        theirs = optuna_dashboard.wsgi(storage)
        with Store.open(url) as store:
            ours = make_app(storage, Views(store), Path(folder), None)
            first, _ = request(ours)
            for what, after in (("the whole study", 0), ("the latest trial", given.trials - 1)):
                both = [(request(ours, after), request(theirs, after)) for _ in range(3)]
                say(f"{what} of {given.trials} trials", both)
    print(f"our first request: {first:.3f} CPU s")


def say(what: str, both: list[tuple[tuple[float, int], tuple[float, int]]]) -> None:
    """Prints the medians of both and their ratio."""
    (our_seconds, our_bytes), (their_seconds, their_bytes) = (
        [statistics.median(column) for column in zip(*side, strict=True)]
        for side in zip(*both, strict=True)
    )
    print(
        f"{what}: autotune {our_seconds:.3f} CPU s, {our_bytes / 1e6:.2f} MB; optuna-dashboard "
        f"{their_seconds:.3f} CPU s, {their_bytes / 1e6:.2f} MB; ratio of the seconds "
        f"{our_seconds / their_seconds:.3f}"
    )


if __name__ == "__main__":
    main()

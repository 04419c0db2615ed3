"""How long the search takes to choose, and to take a result in.

    python benchmarks/choosing.py [--trials 2000] [--pending 1] [--known 0] [--sampler autotune]

A pool of 100,000 recipes of 10 params, four objectives by formula, some of the recipes failing.
So many trials are begun and ended, with so many pending at any time, after as many --known ones of
random recipes as if the search were resumed; prints median, 95th
percentile and the longest of choosing and of taking in, for each fifth of the trials, in seconds.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from autotune.params import Choice, Int, Stage
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.search.observation import Observation
from autotune.search.pool_code import PoolCode
from autotune.search.quantity import quantities_of
from autotune.search.sampler import PoolSampler, make_chooser

OBJECTIVES = (
    "output_tokens_per_second",
    "host_model_peak_bytes",
    "weights_bytes",
    "kld_mean_nats",
)
VALUES = (5, 5, 5, 5, 5, 2, 2, 2, 2, 2)
"""How many values each param has; their product is 100,000."""


def pool() -> PoolCode:
    """Half of the params change the model, a quarter each the process and the run."""
    plugins: dict[str, Plugin] = {}
    stages = [Stage.MODEL, Stage.SETUP, Stage.MODEL, Stage.RUN]
    for i, count in enumerate(VALUES):
        stage = stages[i % 4]
        choices = range(max(count, 2))
        param = Int(0, count - 1, default=0, stage=stage) if i % 2 and count > 2 else None
        declared = {
            "name": f"p{i}",
            "params": {"value": param or Choice(*choices, default=0, stage=stage)},
            "__doc__": "A plugin.",
        }
        plugins[f"p{i}"] = type(f"P{i}", (Plugin,), declared)()
    recipes = []
    for values in itertools.product(*(range(count) for count in VALUES)):
        on = {f"p{i}": {"value": v} for i, v in enumerate(values) if v}
        recipes.append(Recipe.from_dict(on))
    return PoolCode(recipes, plugins)


def measured(recipe: Recipe, noise: np.random.Generator) -> Observation:
    """What a trial shows."""
    on = {name: float(dict(values)["value"]) for name, values in recipe.choices}  # type: ignore[arg-type]
    if on.get("p1", 0) == 4 and on.get("p2", 0) >= 2:
        return Observation(failed=True, feasible=False)
    effect = sum(math.sin(1 + int(name[1:])) * value for name, value in on.items())
    lossy = sum(value for name, value in on.items() if int(name[1:]) % 2 == 0)
    values = {
        "output_tokens_per_second": 100 * math.exp(0.2 * effect + noise.normal(0, 0.02)),
        "host_model_peak_bytes": 1e8 * math.exp(-0.1 * lossy + 0.05 * on.get("p3", 0)),
        "weights_bytes": 1e8 * math.exp(-0.1 * lossy),
        "kld_mean_nats": 1e-3 * lossy**2,
    }
    seconds = {"prepare": 5.0, "score": 2.0, "measure": 3.0}
    errors = {name: (value, 0.01 * value) for name, value in values.items()}
    return Observation(values=errors, phase_seconds=seconds)


class Replay:
    """Begins trials and ends them, always with so many pending."""

    def __init__(self, sampler: PoolSampler, pending: int) -> None:
        self._sampler, self._pending = sampler, pending
        self._noise = np.random.default_rng(0)
        self._waiting: deque[Recipe] = deque()

    def know(self, recipes: Sequence[Recipe]) -> None:
        """Has these ended before."""
        for recipe in recipes:
            self._sampler.observe(recipe, measured(recipe, self._noise))

    def run(self, trials: int) -> dict[str, list[float]]:
        """Seconds of each choice, and of each taking in, until so many more have ended."""
        seconds: dict[str, list[float]] = {"choosing": [], "taking in": []}
        while len(seconds["taking in"]) < trials:
            while len(self._waiting) < self._pending:
                begun = time.perf_counter()
                self._waiting.append(self._sampler.next_recipe())
                seconds["choosing"].append(time.perf_counter() - begun)
            recipe = self._waiting.popleft()
            seen = measured(recipe, self._noise)
            begun = time.perf_counter()
            self._sampler.observe(recipe, seen)
            seconds["taking in"].append(time.perf_counter() - begun)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--pending", type=int, default=1)
    parser.add_argument("--known", type=int, default=0)
    parser.add_argument("--sampler", default="autotune")
    given = parser.parse_args()
    begun = time.perf_counter()
    code = pool()
    chooser = make_chooser(given.sampler, code, quantities_of(OBJECTIVES), {}, seed=0)
    print(f"{len(code.recipes):,} recipes coded in {time.perf_counter() - begun:.1f} s")
    replay = Replay(PoolSampler(code, chooser), given.pending)
    known = np.random.default_rng(1).choice(len(code.recipes), given.known, replace=False)
    replay.know([code.recipes[index] for index in known.tolist()])
    for part in np.array_split(np.arange(given.trials), 5):
        for title, seconds in replay.run(len(part)).items():
            found = " / ".join(f"{s:.4f}" for s in np.percentile(seconds or [0], [50, 95, 100]))
            print(f"{title}: {len(seconds)} times, {found} s", flush=True)


if __name__ == "__main__":
    main()

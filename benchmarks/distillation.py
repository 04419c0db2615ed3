"""How much of the loss that pruning brings is given back by distillation, and what that costs.

    autotune demo-model DIR --size small
    python benchmarks/distillation.py DIR [--ratio 0.3] [--set steps=200] [--threads 2]

Prints the negative log-likelihood of the evaluation text, as the accuracy meter takes it, of the
original, of the pruned and of the pruned and distilled model; the share of the loss that was
recovered; and the seconds of the distillation itself, with all that belongs to it: loading the
teacher, writing text, training and checking. Nothing else should run meanwhile; the CPU seconds
tell how much of a core it took where something did.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from autotune.bench.meters.accuracy import AccuracyMeter
from autotune.bench.meters.memory import MemoryMeter
from autotune.bench.prepare import Prepared, prepare
from autotune.config import StudyFile
from autotune.messages import RecipeDict
from autotune.params import Scalar
from autotune.recipe import Recipe, complete
from autotune.search.plan import Plan, make_plan
from autotune.search.single import make_spec
from autotune_plugins.distill import Distill


class Texts:
    """The evaluation text, and what the original model says of it."""

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan = plan
        self._files = folder / "reference.npy", folder / "paired.npy"
        self._meter(self.prepare({}), {}).save_reference()

    def prepare(self, recipe: RecipeDict) -> Prepared:
        """Loads the model, and transforms it."""
        whole = Recipe.of(recipe, self._plan.registry.plugins)
        spec = make_spec(self._plan, 0, whole)
        return prepare(spec, MemoryMeter(spec.device))

    def nll(self, made: Prepared, recipe: RecipeDict) -> float:
        """Negative log-likelihood of the evaluation text, in nats per token."""
        return math.log(self._meter(made, recipe).score()["perplexity"].value)

    def _meter(self, made: Prepared, recipe: RecipeDict) -> AccuracyMeter:
        return AccuracyMeter(
            made.engine,
            made.run_args(recipe),
            self._plan.model.task,
            made.tokens.evaluation,
            *self._files,
        )


def distil(made: Prepared, params: dict[str, Scalar]) -> tuple[float, float]:
    """Distils a pruned model in place; returns wall clock and CPU seconds."""
    context = replace(made.context, artifact=None)  # what was kept would cost nothing
    wall, cpu = time.perf_counter(), time.process_time()
    Distill().transform(made.model, params, context)
    return time.perf_counter() - wall, time.process_time() - cpu


def distil_params(given: list[str]) -> dict[str, Scalar]:
    """The defaults of ``distill.train=full``, but for what was given as ``name=value``."""
    texts = dict(item.split("=", 1) for item in given)
    changes = {name: yaml.safe_load(text) for name, text in texts.items()}
    return complete(Distill(), {"train": "full", **changes})


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--method", default="structured")
    parser.add_argument("--ratio", type=float, default=0.3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", nargs="*", default=[], metavar="PARAM=VALUE", dest="changes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    study = StudyFile(model=given.model, seed=given.seed)
    pruning: dict[str, Any] = {"prune": {"method": given.method, "ratio": given.ratio}}
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan(study, Path(folder), lambda *_: None)
        texts = Texts(plan, Path(folder))
        original = texts.nll(texts.prepare({}), {})
        made = texts.prepare(pruning)
        pruned = texts.nll(made, pruning)
        params = distil_params(given.changes)
        wall, cpu = distil(made, params)
        distilled = texts.nll(made, pruning)
    print(f"{given.method} {given.ratio}, distill {params}")
    print(*made.context.notes, sep="\n")
    print(f"original             {original:.4f} nats per token")
    print(f"pruned               {pruned:.4f}  (lost {pruned - original:.4f})")
    print(f"pruned and distilled {distilled:.4f}  (lost {distilled - original:.4f})")
    print(f"recovered            {(pruned - distilled) / (pruned - original):.0%}")
    print(f"distillation         {wall:.1f} s on {given.threads} threads, {cpu:.1f} CPU seconds")


if __name__ == "__main__":
    main()

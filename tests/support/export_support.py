"""Trials of real models, exported without a search: what they measured is made up."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from autotune.execute.warm import WarmSessions
from autotune.export.choose import Chosen
from autotune.export.files import ExportFile, Numbers
from autotune.export.reference import ask_outputs
from autotune.export.write import export_trial
from autotune.front import FrontPoint
from autotune.messages import Measurement, RecipeDict
from autotune.recipe import Recipe
from autotune.search.plan import Plan
from autotune.search.single import make_spec

TOKENS = [[5, 6, 7, 8, 9, 10, 11, 12], [20, 21, 22, 23, 24, 25, 26, 27]]

MakePlan = Callable[..., Plan]


def chosen_of(recipe: RecipeDict, weights_disk_bytes: float = 1e6) -> Chosen:
    """A trial as a study would have it."""
    stored = Measurement(value=weights_disk_bytes, unit="B")
    metrics = {"weights_disk_bytes": stored}
    numbers = Numbers(metrics=metrics, one_process=metrics, baseline={}, objectives=())
    return Chosen("fastest", FrontPoint(5, recipe, metrics), numbers, "as fast")


def export(plan: Plan, recipe: dict[str, Any], folder: Path, **options: Any) -> ExportFile:
    """Exports a recipe of a plan."""
    complete = Recipe.of(recipe, plan.registry.plugins).to_dict()
    given = {"max_shard_bytes": 1 << 30, "force": False, "on_step": lambda _: None} | options
    given.setdefault("environment", plan.environment)
    chosen = given.pop("chosen", chosen_of(complete))
    return export_trial(plan, chosen, folder, **given)


def trial_outputs(plan: Plan, recipe: dict[str, Any]) -> np.ndarray[Any, Any]:
    """What the trial itself computes, in a process that knows nothing of exports; each sequence by
    itself, since scales of activations may be those of a whole batch."""
    spec = make_spec(plan, 5, Recipe.of(recipe, plan.registry.plugins), known_accuracy={})
    with closing(WarmSessions(plan.registry)) as sessions:
        session, _ = sessions.get("candidate", spec)
        found = [ask_outputs(session, spec, np.array([ids])).values for ids in TOKENS]
    return np.concatenate(found)

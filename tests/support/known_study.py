"""Studies whose true effects are known."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from autotune.messages import Measurement, Metrics, RecipeDict, TrialResult
from autotune.outcome import Outcome
from autotune.recipe import Recipe
from autotune.store.records import StudyRecord, StudyState, TrialRecord, TrialState

BEGUN = datetime(2026, 3, 1, tzinfo=UTC)
SPEED, WEIGHTS, KLD = "output_tokens_per_second", "weights_bytes", "kld_mean_nats"

SCHEMES = {"int8": (1.4, 0.5, 0.02), "int4": (1.2, 0.3, 0.1)}
"""Of quantize: times tokens/s, times weights, plus KLD."""
COMPILED = 1.5
"""Times tokens/s."""


def truth(recipe: RecipeDict) -> tuple[float, float, float]:
    """Tokens/s, weights and KLD without noise: effects that multiply, or add to the KLD. The
    plugin allocator does nothing."""
    speed, weights, kld = SCHEMES.get(
        str(recipe.get("quantize", {}).get("scheme")), (1.0, 1.0, 0.0)
    )
    speed *= float(recipe.get("batch", {}).get("size", 1)) ** 0.5
    speed *= COMPILED if "compile" in recipe else 1.0
    return 100 * speed, 1e6 * weights, kld


def measured(value: float, unit: str, half: float = 0.0, base: float | None = None) -> Measurement:
    """A value, with an interval and a paired ratio where it was timed."""
    if base is None:
        return Measurement(value=value, unit=unit, ci_low=value - half, ci_high=value + half)
    ends = {"ci_low": value * (1 - half), "ci_high": value * (1 + half)}
    ratio = value / base
    ratios = {"ratio_ci_low": ratio * (1 - half), "ratio_ci_high": ratio * (1 + half)}
    return Measurement(value=value, unit=unit, stat="median_ratio", ratio=ratio, **ends, **ratios)


def metrics_of(recipe: RecipeDict, rng: random.Random, noise: float) -> Metrics:
    speed, weights, kld = truth(recipe)
    if recipe:
        speed *= math.exp(rng.gauss(0, noise))
        kld += rng.gauss(0, noise / 100)
    return {
        SPEED: measured(speed, "1/s", 2 * noise, 100.0),
        WEIGHTS: Measurement(value=weights, unit="B"),
        KLD: measured(kld, "nat", 0.002 if recipe else 0.0),
    }


def any_recipe(rng: random.Random) -> RecipeDict:
    """Each plugin with a chance of its own."""
    recipe: RecipeDict = {}
    if rng.random() < 0.6:
        recipe["quantize"] = {"scheme": rng.choice(list(SCHEMES)), "group": rng.choice([32, 64])}
    if rng.random() < 0.5:
        recipe["batch"] = {"size": rng.choice([2, 4, 8])}
    if rng.random() < 0.4:
        recipe["compile"] = {"on": True}
    if rng.random() < 0.4:
        recipe["allocator"] = {"library": "jemalloc"}
    return recipe


def trial(
    number: int,
    recipe: RecipeDict,
    metrics: Metrics | None,
    outcome: Outcome = Outcome.OK,
    explanation: str = "",
    **more: Any,
) -> TrialRecord:
    """A finished trial."""
    result = TrialResult(
        number=number,
        outcome=outcome,
        explanation=explanation,
        metrics=metrics or {},
        phase_seconds={"lock": 100.0, "measure": 30.0},
        **more,
    )
    return TrialRecord(
        study="known",
        number=number,
        state=TrialState.FINISHED,
        recipe=recipe,
        recipe_key=Recipe.from_dict(recipe).key,
        setup_key="",
        output_key="",
        attempts=1,
        started_at=BEGUN,
        finished_at=BEGUN,
        result=result,
    )


def study(constraints: Sequence[str] = (), **more: Any) -> StudyRecord:
    """The study's record."""
    given = {"convergence_reason": "budget: 40 trials", "state": StudyState.FINISHED}
    return StudyRecord(
        id=1,
        name="known",
        definition={"model": "m"},
        definition_sha256="0" * 64,
        objectives=(SPEED, WEIGHTS, KLD),
        constraints=tuple(constraints),
        created_at=BEGUN,
        updated_at=BEGUN,
        environment={},
        **(given | more),
    )


def random_study(count: int, seed: int = 0, noise: float = 0.03) -> list[TrialRecord]:
    """The baseline, each plugin alone, and what chance chooses.

    Args:
        count: How many trials.
        seed: Of the choices and of the noise.
        noise: Standard deviation of the logarithm of tokens/s; a hundredth of it, of the KLD.
    """
    rng = random.Random(seed)
    singles: list[RecipeDict] = [
        {},
        {"quantize": {"scheme": "int8", "group": 32}},
        {"batch": {"size": 4}},
        {"compile": {"on": True}},
        {"allocator": {"library": "jemalloc"}},
    ]
    recipes = [*singles, *(any_recipe(rng) for _ in range(count - len(singles)))][:count]
    return [trial(n, r, metrics_of(r, rng, noise)) for n, r in enumerate(recipes)]


def timed(number: int, recipe: RecipeDict, slower: float = 1.0) -> TrialRecord:
    """A trial with the numbers that its recipe truly has, but for a factor on its speed."""
    metrics = metrics_of(recipe, random.Random(0), 0.0)
    speed = truth(recipe)[0] / slower
    return trial(number, recipe, metrics | {SPEED: measured(speed, "1/s", 0.01, 100.0)})

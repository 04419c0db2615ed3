"""A made-up study of forty trials, as real ones look."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from autotune.messages import Measurement, Metrics, RecipeDict, TrialResult
from autotune.outcome import Outcome
from autotune.report.summary import StudySummary
from autotune.store import StudyRecord, StudyState, TrialRecord, TrialState

BEGUN = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
OBJECTIVES = (
    "output_tokens_per_second",
    "host_model_peak_bytes",
    "energy_per_output_token_joules",
    "kld_mean_nats",
)
SCHEMES = {  # speed ratio, memory ratio, KLD
    "": (1.0, 1.0, 0.0),
    "int8_weight_only": (1.3, 0.42, 0.0009),
    "int8_dynamic": (1.6, 0.44, 0.0041),
    "int4_weight_only": (1.45, 0.27, 0.031),
}
FAILURES = {
    9: (Outcome.OUT_OF_MEMORY, "needed 2.1 GiB more than the 24.0 GiB of this machine"),
    17: (Outcome.UNSUPPORTED, "quantize: float8 needs compute capability 8.9, here is a CPU"),
    26: (
        Outcome.CRASHED,
        "SIGSEGV in prepare\nlast lines of the log:\n  torch._inductor: <lambda>",
    ),
    33: (Outcome.OUT_OF_MEMORY, "killed by the kernel for memory"),
}


def study(
    model: str = "acme/tiny-llama-5m", notes: tuple[str, ...] = ("energy is of the package",)
) -> StudyRecord:
    return StudyRecord(
        id=1,
        name="tiny-llama_cpu",
        state=StudyState.FINISHED,
        definition={"model": model, "device": "auto"},
        definition_sha256="0123456789abcdef" * 4,
        objectives=OBJECTIVES,
        constraints=("kld_mean_nats<=0.05",),
        created_at=BEGUN,
        updated_at=BEGUN + timedelta(minutes=42),
        convergence_reason="the hypervolume grew by less than 1 % in 12 trials",
        environment={
            "device": "AMD EPYC 9654 (2 cores)",
            "os": "Linux 6.8",
            "python": "3.11.7",
            "torch": "2.13.0",
            "transformers": "5.23.0",
        },
        notes=notes,
    )


def _measured(value: float, unit: str, half_ratio: float, base: float) -> Measurement:
    ratio = value / base if base else None
    return Measurement(
        value=value,
        unit=unit,
        stat="median_ratio",
        ci_low=value * (1 - half_ratio),
        ci_high=value * (1 + half_ratio),
        n=8,
        source="blocks",
        ratio=ratio,
        ratio_ci_low=ratio and ratio * (1 - half_ratio),
        ratio_ci_high=ratio and ratio * (1 + half_ratio),
    )


def _recipe(number: int, rng: random.Random) -> RecipeDict:
    if number == 0:
        return {}
    recipe: RecipeDict = {"batch": {"size": 2 ** rng.randint(0, 4)}}
    if scheme := rng.choice(list(SCHEMES)):
        recipe["quantize"] = {"scheme": scheme, "group": 32}
    if rng.random() < 0.4:
        recipe["compile"] = {"mode": "dynamic"}
    if rng.random() < 0.35:
        recipe["prune"] = {"keep_ratio": rng.choice([0.5, 0.75])}
    return recipe


def _metrics(recipe: RecipeDict, rng: random.Random) -> Metrics:
    speed, memory, loss = SCHEMES[str(recipe.get("quantize", {}).get("scheme", ""))]
    batch = float(recipe.get("batch", {}).get("size", 1))
    keep = float(recipe.get("prune", {}).get("keep_ratio", 1.0))
    speed *= math.sqrt(batch) * (1.35 if "compile" in recipe else 1.0) / (0.4 + 0.6 * keep)
    weights = 21e6 * memory * (0.5 + 0.5 * keep)
    loss += 0.09 * (1 - keep) ** 2
    speed *= rng.uniform(0.95, 1.05) if recipe else 1.0
    return {
        OBJECTIVES[0]: _measured(612 * speed, "1/s", rng.uniform(0.005, 0.03), 612),
        OBJECTIVES[1]: _measured(weights * 1.4 + 2e6 * batch, "B", 0, 21e6 * 1.4 + 2e6),
        OBJECTIVES[2]: _measured(0.021 / speed**0.8, "J", 0.02, 0.021),
        OBJECTIVES[3]: _measured(loss, "nat", 0.06, 0),
        "weights_bytes": Measurement(value=weights, unit="B"),
    }


def finished(
    number: int, recipe: RecipeDict, outcome: Outcome, explanation: str, metrics: Metrics
) -> TrialRecord:
    result = TrialResult(
        number=number,
        outcome=outcome,
        explanation=explanation,
        metrics=metrics,
        log=f"studies/tiny-llama_cpu/{number:04d}.log",
    )
    return TrialRecord(
        study="tiny-llama_cpu",
        number=number,
        state=TrialState.FINISHED,
        recipe=recipe,
        recipe_key=f"r{number}",
        setup_key="s",
        output_key="o",
        attempts=1,
        started_at=BEGUN + timedelta(minutes=number),
        finished_at=BEGUN + timedelta(minutes=number + 1),
        result=result,
    )


def trial(number: int, rng: random.Random) -> TrialRecord:
    recipe = _recipe(number, rng)
    if number in FAILURES:
        return finished(number, recipe, *FAILURES[number], {})
    metrics = _metrics(recipe, rng)
    loss = metrics[OBJECTIVES[3]].high or 0.0
    if loss > 0.05:
        words = f"kld_mean_nats is {loss:.3f}, wanted kld_mean_nats<=0.05"
        return finished(number, recipe, Outcome.INFEASIBLE, words, metrics)
    return finished(number, recipe, Outcome.OK, "", metrics)


def trials(count: int = 40) -> list[TrialRecord]:
    rng = random.Random(7)
    return [trial(number, rng) for number in range(count)]


@pytest.fixture(scope="session")
def summary() -> StudySummary:
    return StudySummary.of(study(), trials())


@pytest.fixture(
    params=[
        "empty",
        "baseline only",
        "all failed",
        "running",
        "nothing measured",
        "one objective",
        "hostile",
    ]
)
def condition(request: pytest.FixtureRequest) -> str:
    """Each condition that ``summary_of`` knows."""
    return str(request.param)


@pytest.fixture(scope="session")
def summary_of() -> Callable[[str], StudySummary]:
    """Makes the summary of a study in another condition."""

    def make(condition: str) -> StudySummary:
        failed = [finished(n, {"p": {"x": n}}, *FAILURES[9], {}) for n in range(3)]
        running = trials(1)[0].model_copy(update={"state": TrialState.RUNNING, "result": None})
        unmeasured = finished(0, {}, Outcome.OK, "", {})
        return {
            "empty": StudySummary.of(study(), []),
            "baseline only": StudySummary.of(study(), trials(1)),
            "all failed": StudySummary.of(study(), failed),
            "running": StudySummary.of(study(), [running]),
            "nothing measured": StudySummary.of(study(), [unmeasured]),
            "one objective": StudySummary.of(
                study().model_copy(update={"objectives": ("weights_bytes",)}), trials(12)
            ),
            "hostile": StudySummary.of(
                study("<script>alert(1)</script>", ("<img src=x onerror=alert(2)>",)), trials(30)
            ),
        }[condition]

    return make

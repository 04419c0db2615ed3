"""Stand-ins for what a test does not have: a device, a trial, a result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from autotune.device import Device
from autotune.measure_settings import MeasureSettings
from autotune.messages import (
    BlockPair,
    Measurement,
    ModelRef,
    RecipeDict,
    TrialResult,
    TrialSpec,
    Workload,
)
from autotune.metrics import metric
from autotune.outcome import Outcome
from autotune.params import Choice, Stage
from autotune.plugin import Phase, Plugin
from autotune.recipe import Recipe

LLAMA: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "float32",
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "vocab_size": 4096,
    "tie_word_embeddings": False,
}
"""The ``config.json`` of a small causal language model."""


class FakePruning(Plugin):
    """Stand for something that changes the structure, so that there is something to recover."""

    name = "fake_pruning"
    params: ClassVar = {"on": Choice(False, True, default=False, stage=Stage.MODEL)}
    phase = Phase.STRUCTURE


def fake_device(kind: Literal["cpu", "cuda"] = "cpu") -> Device:
    """A server CPU, or an NVIDIA H200, that need not be here."""
    flags = frozenset({"avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"})
    cpu = Device(
        kind="cpu", name="fake CPU", memory_bytes=64 << 30, cores=8, count=1, cpu_flags=flags
    )
    if kind == "cpu":
        return cpu
    gpu = {"kind": "cuda", "name": "NVIDIA H200", "memory_bytes": 141 << 30}
    return cpu.model_copy(update={**gpu, "compute_capability": (9, 0)})


def fake_spec(number: int = 0, recipe: RecipeDict | None = None) -> TrialSpec:
    """A trial whose files do not exist: for executors that do not read them."""
    key = Recipe.from_dict(recipe or {}).key
    model = ModelRef(path="/nowhere", name="fake", task="causal-lm", fingerprint="0" * 64)
    workload = Workload(
        evaluation_text="/nowhere/evaluation.txt",
        evaluation_sha256="1" * 64,
        calibration_text="/nowhere/calibration.txt",
        calibration_sha256="2" * 64,
    )
    return TrialSpec(
        study="fake",
        number=number,
        recipe=recipe or {},
        recipe_key=key,
        setup_key=key,
        output_key=key,
        model=model,
        workload=workload,
        device=fake_device(),
        settings=MeasureSettings(),
        directory="/nowhere",
        cache_directory="/nowhere",
    )


def fake_result(spec: TrialSpec, outcome: Outcome = Outcome.OK, **metrics: float) -> TrialResult:
    """The result that a trial would have had.

    Args:
        spec: The trial.
        outcome: How it ended.
        **metrics: Values by metric name, in the metric's unit.
    """
    pair = BlockPair(candidate={}, reference={}, candidate_first=True)
    return TrialResult(
        number=spec.number,
        outcome=outcome,
        explanation="" if outcome is Outcome.OK else f"made to end as {outcome}",
        metrics={
            name: Measurement(value=value, unit=metric(name).unit, source="fake")
            for name, value in metrics.items()
        },
        blocks=(pair,) if metrics else (),
        accuracy_reused=spec.known_accuracy is not None,
    )

"""Messages are frozen, strict, and survive the wire."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from autotune.measure_settings import MeasureSettings
from autotune.message import Message
from autotune.messages import (
    AdapterFile,
    BlockPair,
    Contention,
    Measurement,
    ModelRef,
    Progress,
    TaskFile,
    TaskScore,
    TrialResult,
    TrialSpec,
    Workload,
)
from autotune.outcome import Outcome
from autotune.testing import fake_result, fake_spec
from autotune.trust import Trust

SPEC = fake_spec(3, {"quantize": {"scheme": "int8", "group": 32, "symmetric": True, "clip": 1.0}})
MESSAGES: tuple[Message, ...] = (
    Measurement(value=1.0, unit="s"),
    Contention(seconds=1.0, steal_ratio=0.1),
    BlockPair(candidate={"a": 1.0}, reference={"a": 2.0}, candidate_first=False),
    MeasureSettings(),
    Progress(number=1, phase="measure"),
    SPEC,
    SPEC.model,
    SPEC.model.trust,
    SPEC.workload,
    AdapterFile(name="a", path="/nowhere/a", identity="4" * 64),
    TaskFile(name="t", path="/nowhere/t.csv", kind="labelled", identity="3" * 64),
    TaskScore(name="t", n=10, correct=7, gained=1, lost=2),
    fake_result(SPEC, ttft_seconds=0.5),
)


def test_every_message_is_tested() -> None:
    assert {type(m) for m in MESSAGES} == {*Message.__subclasses__(), Trust} - _elsewhere()


def _elsewhere() -> set[type[Message]]:
    here = ("autotune.messages", "autotune.measure_settings")
    return {c for c in Message.__subclasses__() if c.__module__ not in here}


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_message_survives_the_wire(message: Message) -> None:
    assert type(message).model_validate_json(message.model_dump_json()) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_message_is_frozen(message: Message) -> None:
    field = next(iter(type(message).model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(message, field, getattr(message, field))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_message_refuses_an_unknown_key(message: Message) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        type(message).model_validate({**message.model_dump(), "surplus": 1})


def test_recipe_values_keep_their_types() -> None:
    values = TrialSpec.model_validate_json(SPEC.model_dump_json()).recipe["quantize"]
    assert {name: type(value) for name, value in values.items()} == {
        "scheme": str,
        "group": int,
        "symmetric": bool,
        "clip": float,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_is_none_travels_as_not_measured(value: float) -> None:
    result = fake_result(SPEC, kld_mean_nats=value)
    travelled = TrialResult.model_validate_json(result.model_dump_json())
    assert travelled.metrics["kld_mean_nats"].value is None


def test_interval_falls_back_to_the_value() -> None:
    exact = Measurement(value=2.0, unit="s")
    assert (exact.low, exact.high) == (2.0, 2.0)
    known = Measurement(value=2.0, unit="s", ci_low=0.0, ci_high=3.0)
    assert (known.low, known.high) == (0.0, 3.0)
    missing = Measurement(value=None, unit="s", reason="no counter")
    assert (missing.low, missing.high) == (None, None)


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        (MeasureSettings, {"min_pairs": 5}),
        (MeasureSettings, {"block_seconds": 0}),
        (MeasureSettings, {"block_seconds": math.nan}),
        (MeasureSettings, {"warmup_blocks": 2}),
        (MeasureSettings, {"memory_limit_bytes": 0}),
        (Progress, {"number": 1, "phase": "dance"}),
        (Progress, {"number": None, "phase": "lock"}),
        (TrialResult, {"number": 1, "outcome": "perhaps"}),
        (ModelRef, {"path": "p", "name": "n", "task": "causal-lm"}),
    ],
)
def test_bad_values_are_refused(kind: type[Message], changed: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind.model_validate(changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"evaluation_sha256": "x" * 64},
        {"calibration_sha256": "x" * 64},
        {"evaluation_positions": 128},
        {"evaluation_window_tokens": 64},
        {"calibration_sequences": 1},
        {"prompt_tokens": 7},
        {"seed": 5},
    ],
)
def test_evaluation_key_names_all_that_accuracy_depends_on(changed: dict[str, Any]) -> None:
    workload = SPEC.workload
    assert workload.model_copy(update=changed).evaluation_key != workload.evaluation_key


@pytest.mark.parametrize("changed", [{"new_tokens": 5}, {"evaluation_text": "elsewhere"}])
def test_evaluation_key_is_blind_to_the_rest(changed: dict[str, Any]) -> None:
    workload: Workload = SPEC.workload
    assert workload.model_copy(update=changed).evaluation_key == workload.evaluation_key


def test_outcome_travels_by_its_value() -> None:
    result = fake_result(SPEC, Outcome.OUT_OF_MEMORY)
    assert '"out_of_memory"' in result.model_dump_json()

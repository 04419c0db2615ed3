"""Memory by phase: known spikes in a request, and what a session of the real engine reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from autotune.bench.engines.torch_engine import TorchEncoder, TorchGenerator
from autotune.bench.meters.memory import MemoryMeter
from autotune.bench.meters.phases import request_phases
from autotune.metrics import METRICS, host_peak
from autotune.testing import fake_device

MIB = 1 << 20
TOLERANCE = 12 * MIB
"""Far less than the spikes differ by, and more than what other tests left and may be given back
between two phases. How exact one reading is, ``test_memory`` shows."""


def spike(mebibytes: int) -> None:
    assert torch.ones(mebibytes << 18).sum() > 0


@pytest.fixture
def meter(childless: None) -> MemoryMeter:
    spike(1)  # brings in the code
    found = MemoryMeter(fake_device("cpu"))
    found.before_loading()
    return found


def value(metrics: Any, phase: str) -> float:
    found = metrics[host_peak(phase)].value
    assert found is not None
    return float(found)


def test_each_phase_has_the_peak_of_its_own_spike(meter: MemoryMeter, llama: Any) -> None:
    engine = TorchGenerator(llama, 4)
    spike(48)
    meter.end_of("load")
    spike(96)
    meter.end_of("transform")

    def request() -> None:
        spike(128)
        assert engine.on_first_token is not None
        engine.on_first_token()
        spike(64)

    found = request_phases(meter, engine, request, generates=True)

    assert set(found) <= set(METRICS)
    for phase, less in (("load", 80), ("transform", 32), ("decode", 64)):
        difference = value(found, "prefill") - value(found, phase)
        assert difference == pytest.approx(less * MIB, abs=TOLERANCE), phase
    assert engine.on_first_token is None


def test_headline_is_read_before_and_stays_exact(meter: MemoryMeter, llama: Any) -> None:
    engine = TorchGenerator(llama, 4)
    meter.start()
    spike(64)
    headline = meter.read()["host_model_peak_bytes"].value
    request_phases(meter, engine, lambda: spike(200), generates=True)
    meter.start()
    spike(64)
    again = meter.read()["host_model_peak_bytes"].value
    assert headline is not None
    assert again == pytest.approx(headline, abs=TOLERANCE)


def test_generator_says_when_its_first_token_is_there(llama: Any) -> None:
    engine = TorchGenerator(llama, 4)
    prompts = {"input_ids": torch.arange(8)[None]}
    calls: list[int] = []
    engine.on_first_token = lambda: calls.append(1)
    engine.request(prompts, engine.resolve({}))
    assert calls == [1]


def test_engine_that_cannot_tell_is_null_with_a_reason(meter: MemoryMeter, llama: Any) -> None:
    found = request_phases(meter, TorchGenerator(llama, 4), lambda: None, generates=True)
    for measured in (found[host_peak("prefill")], found[host_peak("decode")]):
        assert measured.value is None
        assert measured.reason == "TorchGenerator does not say when its first token is there"


def test_encoder_has_no_such_phases(meter: MemoryMeter, llama: Any) -> None:
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    found = request_phases(meter, TorchEncoder(llama, "x"), nothing, generates=False)
    assert not {host_peak("prefill"), host_peak("decode")} & set(found)

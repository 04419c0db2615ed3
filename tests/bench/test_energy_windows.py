"""Energy windows: a meter's failure costs its own number, a request's failure the trial."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune import energy
from autotune.bench.meters.energy import measure_energy
from autotune.energy import EnergyMeter
from autotune.engine import Timing
from autotune.measure_settings import MeasureSettings
from autotune.messages import TrialSpec
from autotune.testing import fake_spec


class Plug(EnergyMeter):
    """Ten joules for anything, and broken at the third reading."""

    source = "measured:external:plug"

    def __init__(self, readings: int) -> None:
        self._left = readings

    def joules_of(self, work: Callable[[], object]) -> float:
        work()
        self._left -= 1
        if self._left < 0:
            raise OSError("the plug is not answering")
        return 10.0


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    settings = MeasureSettings(energy_window_seconds=0.01, energy_windows=3)
    return fake_spec().model_copy(update={"settings": settings, "directory": str(tmp_path)})


def request() -> list[Timing]:
    return [Timing(0.0, 0.5, 1.0, 1, 4, 5)]


@pytest.mark.parametrize(("readings", "works"), [(3, True), (2, False)])
def test_meter_that_fails_gives_null_with_the_reason(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch, readings: int, works: bool
) -> None:
    monkeypatch.setattr(energy, "find_meter", lambda *_: Plug(readings))
    found = measure_energy(spec, request)["energy_joules"]
    if works:
        assert found.value == 10.0
    else:
        assert found.value is None
        assert found.reason == (
            "measured:external:plug failed: OSError: the plug is not answering"
        )


def test_request_that_fails_is_not_the_meters_fault(
    spec: TrialSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "find_meter", lambda *_: Plug(3))

    def fail() -> list[Timing]:
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        measure_energy(spec, fail)

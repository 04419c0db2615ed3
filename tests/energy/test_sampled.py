"""Power that is read again and again: the integral, and the thread that reads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from autotune.energy import sampled
from autotune.energy.sampled import SampledMeter, integral


class Constant(SampledMeter):
    """A sensor that always says the same, until it breaks."""

    source = "measured:sampled:test"

    def __init__(self, watts: float, good_readings: int = 1_000_000) -> None:
        self._watts, self._good = watts, good_readings
        self.times: list[float] = []
        self.enough = threading.Event()

    @contextmanager
    def sensor(self) -> Iterator[Callable[[], float]]:
        yield self._read

    def _read(self) -> float:
        self.times.append(time.perf_counter())
        if len(self.times) >= 5:
            self.enough.set()
        if len(self.times) > self._good:
            raise OSError("the sensor is gone")
        return self._watts


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled, "SAMPLE_SECONDS", 0.001)


@pytest.mark.parametrize(
    ("samples", "joules"),
    [
        ([], 0.0),
        ([(3.0, 50.0)], 0.0),
        ([(0.0, 10.0), (2.0, 10.0)], 20.0),
        ([(0.0, 0.0), (2.0, 10.0), (3.0, 10.0), (7.0, 0.0)], 10.0 + 10.0 + 20.0),
    ],
)
def test_integral_is_trapezoidal(samples: list[tuple[float, float]], joules: float) -> None:
    assert integral(samples) == pytest.approx(joules)


def test_constant_power_gives_power_times_time() -> None:
    meter = Constant(40.0)
    work_began = work_ended = 0.0

    def work() -> None:
        nonlocal work_began, work_ended
        work_began = time.perf_counter()
        assert meter.enough.wait(30)
        work_ended = time.perf_counter()

    spent = meter.joules_of(work)

    assert meter.times[0] < work_began
    assert work_ended < meter.times[-1]
    # A sample's time is taken just after the sensor's: between its neighbours.
    assert 40 * (work_ended - work_began) < spent
    assert spent <= 40 * (time.perf_counter() - meter.times[0])


def test_thread_ends_with_the_work() -> None:
    meter = Constant(1.0)
    meter.joules_of(lambda: meter.enough.wait(30))
    assert "power" not in {thread.name for thread in threading.enumerate()}


def test_sensor_that_breaks_is_an_error_and_no_number() -> None:
    meter = Constant(1.0, good_readings=3)
    with pytest.raises(OSError, match="the sensor is gone"):
        meter.joules_of(lambda: meter.enough.wait(0.5))


def test_work_that_fails_stops_the_thread() -> None:
    def fail() -> None:
        raise ValueError("the work")

    with pytest.raises(ValueError, match="the work"):
        Constant(1.0).joules_of(fail)
    assert "power" not in {thread.name for thread in threading.enumerate()}

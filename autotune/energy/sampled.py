"""Power that a thread reads again and again, integrated over time."""

from __future__ import annotations

import itertools
import threading
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import ClassVar

from autotune.energy.base import EnergyMeter

SAMPLE_SECONDS = 0.1
"""Sensors are renewed about as often; reading them more often gives the same number again."""

Sample = tuple[float, float]
"""Seconds of ``time.perf_counter``, watts."""


class SampledMeter(EnergyMeter):
    """Integrates a power sensor. Its thread runs beside nothing that is timed: only while energy
    is measured."""

    min_window_seconds: ClassVar[float] = 5.0
    min_windows: ClassVar[int] = 5

    @abstractmethod
    def sensor(self) -> AbstractContextManager[Callable[[], float]]:
        """Opens the sensor: a function that gives the power in watts, called by one thread."""

    def joules_of(self, work: Callable[[], object]) -> float:
        """The integral over samples, the first taken before the work and the last after it."""
        with self.sensor() as read_watts:
            samples = [_sample(read_watts)]
            with _sampling(read_watts, samples):
                work()
            samples.append(_sample(read_watts))
        return integral(samples)


def _sample(read_watts: Callable[[], float]) -> Sample:
    watts = read_watts()
    return time.perf_counter(), watts


@contextmanager
def _sampling(read_watts: Callable[[], float], samples: list[Sample]) -> Iterator[None]:
    """Appends a sample now and then.

    Raises:
        Exception: What the sensor raised meanwhile.
    """
    done = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            while not done.wait(SAMPLE_SECONDS):
                samples.append(_sample(read_watts))
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="power", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    if failures:
        raise failures[0]


def integral(samples: Sequence[Sample]) -> float:
    """Joules by the trapezoidal rule.

    Args:
        samples: In the order of time.
    """
    return sum(
        (later - earlier) * (before + after) / 2
        for (earlier, before), (later, after) in itertools.pairwise(samples)
    )

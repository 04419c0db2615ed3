"""Energy of requests, in windows of several seconds."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import closing

from autotune import energy
from autotune.bench.meters import speed
from autotune.energy import EnergyMeter, Window
from autotune.engine import Timing
from autotune.messages import Metrics, TrialSpec

_PHASE_SECONDS = 0.1
"""Windows begin at random points of a sensor's cycle, which is about so long."""


def measure_energy(spec: TrialSpec, run: Callable[[], Sequence[Timing]]) -> Metrics:
    """Runs windows of requests; where nothing can tell energy, says why at once.

    Args:
        spec: The trial.
        run: Runs one request, or all of a workload's traffic.
    """
    task, settings = spec.model.task, spec.settings
    meter = energy.find_meter(spec.device, settings.cpu_watts_per_core)
    if isinstance(meter, str):
        return energy.unavailable(task, meter)
    chance = random.Random(spec.seed + spec.number)
    seconds = max(settings.energy_window_seconds, meter.min_window_seconds)
    windows = []
    with closing(meter):
        for _ in range(max(settings.energy_windows, meter.min_windows)):
            time.sleep(chance.uniform(0, _PHASE_SECONDS))
            try:
                windows.append(_window(meter, run, seconds))
            except _MeterFailed as failed:
                return energy.unavailable(task, f"{meter.source} failed: {failed}")
    return energy.energy_metrics(task, windows, meter.source) | energy.temperature(spec.device)


class _MeterFailed(Exception):
    """The meter, not the requests."""


def _window(meter: EnergyMeter, run: Callable[[], Sequence[Timing]], seconds: float) -> Window:
    blocks: list[speed.Block] = []
    failures: list[Exception] = []

    def work() -> None:
        try:
            blocks.append(speed.run_block(run, seconds))
        except Exception as error:
            failures.append(error)
            raise

    began = time.perf_counter()
    try:
        joules = meter.joules_of(work)
    except Exception as error:
        if failures:
            raise
        raise _MeterFailed(f"{type(error).__name__}: {error}") from error
    elapsed = time.perf_counter() - began
    (block,) = blocks
    return Window(joules, elapsed, block.output_tokens or block.sequences)

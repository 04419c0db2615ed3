"""Windows of energy → metrics. What was not measured is null with a reason, never zero."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from autotune.device import Device
from autotune.energy.find import energy_source, find_meter
from autotune.energy.temperature import SENSOR, temperature_celsius
from autotune.messages import Measurement, Metrics
from autotune.statistics import median_interval

_IDLE = "idle_power_watts"
_TEMPERATURE = "device_temperature_celsius"


@dataclass(frozen=True)
class Window:
    """One stretch of requests with its energy."""

    joules: float
    seconds: float
    units: int
    """Output tokens, or samples for encoders."""


def _per_unit_name(task: str) -> str:
    return "energy_per_output_token_joules" if task == "causal-lm" else "energy_per_sample_joules"


def unavailable(task: str, reason: str) -> Metrics:
    """The energy metrics of a device without a meter."""
    names = {"energy_joules": "J", _per_unit_name(task): "J", "avg_power_watts": "W"}
    return {name: Measurement.unavailable(unit, reason) for name, unit in names.items()}


def energy_metrics(task: str, windows: Sequence[Window], source: str) -> Metrics:
    """Medians over windows with order-statistic intervals."""
    values = {
        "energy_joules": ("J", [w.joules for w in windows]),
        _per_unit_name(task): ("J", [w.joules / w.units for w in windows]),
        "avg_power_watts": ("W", [w.joules / w.seconds for w in windows]),
    }
    return {name: _median(series, unit, source) for name, (unit, series) in values.items()}


def _median(series: Sequence[float], unit: str, source: str) -> Measurement:
    return Measurement.of(median_interval(series), unit, "median", source)


def idle_power(device: Device, watts_per_core: float | None, seconds: float) -> Metrics:
    """Power while nothing of ours runs, over one window; null for an estimate, which has none.

    Args:
        device: What a study measures.
        watts_per_core: See ``find_meter``.
        seconds: How long to look, more if the meter needs it.
    """
    source, reason = energy_source(device, watts_per_core)
    if source.startswith("estimated:"):
        reason = "an estimate from CPU time says nothing of an idle machine"
    meter = reason or find_meter(device, watts_per_core)
    if isinstance(meter, str):
        return {_IDLE: Measurement.unavailable("W", meter)}
    with closing(meter):
        began = time.perf_counter()
        try:
            joules = meter.joules_of(lambda: time.sleep(max(seconds, meter.min_window_seconds)))
        except Exception as error:  # a meter's failure costs its own number, no more
            return {
                _IDLE: Measurement.unavailable(
                    "W", f"{meter.source} failed: {type(error).__name__}: {error}"
                )
            }
        watts = joules / (time.perf_counter() - began)
    return {_IDLE: Measurement(value=watts, unit="W", source=meter.source)}


def temperature(device: Device) -> Metrics:
    """How warm the device is now."""
    found = temperature_celsius(device)
    if found is None:
        return {
            _TEMPERATURE: Measurement.unavailable(
                "\N{DEGREE SIGN}C", "no temperature sensor is readable"
            )
        }
    source = SENSOR[device.kind]
    return {_TEMPERATURE: Measurement(value=found, unit="\N{DEGREE SIGN}C", source=source)}

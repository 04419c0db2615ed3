"""Numbers for people: ms, MiB, J, three digits, intervals; console and HTML share it."""

from __future__ import annotations

from autotune.front import ratio_to_baseline
from autotune.messages import Grade, Measurement
from autotune.metrics import Direction, Family, Metric, metric
from autotune.numbers import counted as counted
from autotune.numbers import digits as digits
from autotune.numbers import duration as duration

NOT_MEASURED = "\N{EN DASH}"
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
ROUGHLY = "~"
"""Stands before a value whose interval was still too wide when its time was up."""
DISTURBED = "(C)"
"""Stands after a value of grade C."""
TIMES = "\N{MULTIPLICATION SIGN}"

_STEPS = {
    "s": ((60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "\N{MICRO SIGN}s")),
    "B": ((2.0**40, "TiB"), (2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "\N{MICRO SIGN}J")),
    "FLOP": ((1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")),
    "FLOP/s": ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s")),
    "B/s": ((1e12, "TB/s"), (1e9, "GB/s"), (1e6, "MB/s")),
    "W": ((1e3, "kW"), (1.0, "W"), (1e-3, "mW")),
}


def scale(unit: str, value: float) -> tuple[float, str]:
    """The factor and the unit in which a value reads well.

    Args:
        unit: A metric's unit.
        value: In that unit.

    Returns:
        What to divide by, and the name of the new unit (empty where a label says it all).
    """
    steps = _STEPS.get(unit)
    if steps is None:
        return 1.0, ""
    size = abs(value)
    fitting = (step for step in steps if size >= step[0] * (2 if step[1] == "min" else 1))
    return next(fitting, steps[-1] if size else (1.0, unit))


def quantity(name: str, value: float | None) -> str:
    """A value of a metric: ``12.1 ms``, ``1.50 GiB``, ``812``."""
    if value is None:
        return NOT_MEASURED
    factor, unit = scale(metric(name).unit, value)
    return f"{digits(value / factor)} {unit}".strip()


def measured(name: str, given: Measurement | None, *, with_interval: bool = True) -> str:
    """A value with its 95 % interval: ``812 ±1.8 %``, ``0.0031 ±0.0004``; a loss that is surely
    under the metric's resolution as ``<0.0001``."""
    if given is None or given.value is None:
        return NOT_MEASURED
    if is_lossless(name, given):
        return f"<{metric(name).resolution:g}"
    width = interval(name, given) if with_interval else ""
    roughly = "" if given.converged else ROUGHLY
    poor = DISTURBED if given.grade is Grade.C else ""
    return f"{roughly}{quantity(name, given.value)} {width} {poor}".replace("  ", " ").strip()


def is_lossless(name: str, given: Measurement) -> bool:
    """Whether the whole interval lies under what the metric can resolve."""
    floor = metric(name).resolution if metric(name).family is Family.ACCURACY else 0.0
    return floor > 0 and max(abs(given.low or 0), abs(given.high or 0)) < floor


def interval(name: str, given: Measurement | None) -> str:
    """Half the 95 % interval: a percentage, or absolute for metrics near zero. Where
    that is more than the value itself, no more is said than so."""
    if given is None or given.value is None or given.ci_low is None or given.ci_high is None:
        return ""
    if is_lossless(name, given):
        return ""
    half = (given.ci_high - given.ci_low) / 2
    if half <= 0:
        return ""
    if metric(name).family is Family.ACCURACY or given.value == 0:
        return f"{PLUS_MINUS}{digits(half, 1)}"
    percent = 100 * half / abs(given.value)
    return f"{PLUS_MINUS}{percent:.1f} %" if percent <= 100 else f"{PLUS_MINUS}over 100 %"


def ratio(name: str, given: Measurement | None, baseline: Measurement | None) -> str:
    """A value over the baseline's: "2.10" and a times sign; "same" where the metric cannot tell
    them apart; empty where there is none, for accuracy (the baseline's loss is near zero, and a
    ratio to that says nothing) and for percentiles (they are not paired with the baseline's)."""
    if metric(name).family in (Family.ACCURACY, Family.TAIL):
        return ""
    found = ratio_to_baseline(given, baseline)
    if found is None:
        return ""
    text = f"{found:.2f}{TIMES}" if found < 10 else f"{digits(found)}{TIMES}"
    tied = given and baseline and metric(name).tied(given.value, baseline.value)
    return "same" if tied and text != f"1.00{TIMES}" else text


def arrow(kind: Metric) -> str:
    """Which way is better."""
    return "\N{UPWARDS ARROW}" if kind.direction is Direction.MAXIMIZE else "\N{DOWNWARDS ARROW}"


_PHASES = {
    "lock": "waits for the device",
    "prepare": "is being prepared",
    "baseline": "waits for the baseline's process",
    "score": "is being scored",
    "warmup": "warms up",
    "measure": "is being measured",
    "energy": "is being measured for energy",
    "tasks": "does the study's tasks",
}


def phase_words(phase: str, detail: str) -> str:
    """What a trial does now, to be put after its number.

    Args:
        phase: Of ``Progress``.
        detail: May be empty.
    """
    return _PHASES.get(phase, phase) + (f" ({detail})" if detail else "")

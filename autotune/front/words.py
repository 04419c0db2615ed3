"""A trial against the baseline, in words."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.front.signs import MINUS, TIMES
from autotune.front.tasks import task_verdict
from autotune.messages import Grade, Measurement, Metrics
from autotune.metrics import Direction, Family, Metric, metric
from autotune.statistics import Interval, unpaired_ratio


def against_baseline(metrics: Metrics, baseline: Metrics, objectives: Sequence[str]) -> str:
    """Says what a recipe gains and costs: "2.10x output tokens/s, -48 % weights, KLD 0.003",
    with typographic signs.

    Where tasks were run, their accuracy and what it proves come last. A ratio whose 95 % interval
    contains 1, or values without one whose intervals overlap, are marked ``within noise``; what
    is of grade C, ``disturbed``.

    Args:
        metrics: The trial's metrics.
        baseline: The baseline's metrics.
        objectives: Names of metrics; the weights are always added.
    """
    names = [*objectives, *(["weights_bytes"] if "weights_bytes" not in objectives else [])]
    parts = [_part(metric(name), metrics.get(name), baseline.get(name)) for name in names]
    parts.append(task_verdict(metrics))
    return ", ".join(part for part in parts if part)


def ratio_to_baseline(measured: Measurement | None, baseline: Measurement | None) -> float | None:
    """A value over the baseline's: the median of paired ratios where blocks alternated.

    Returns:
        None where either is missing or the baseline is not positive.
    """
    if measured is None or measured.value is None:
        return None
    if measured.ratio is not None:
        return measured.ratio
    if baseline is None or baseline.value is None or baseline.value <= 0:
        return None
    return measured.value / baseline.value


def ratio_interval(measured: Measurement | None, baseline: Measurement | None) -> Interval | None:
    """A value over the baseline's with its 95 % interval: paired, else that of the worst case of
    two values that were taken at different times.

    Returns:
        None where either has no interval or is not positive.
    """
    if measured is None or (paired := measured.ratio_interval) is not None:
        return paired if measured else None
    mine, own = measured.interval, baseline.interval if baseline else None
    if measured.ci_low is None or mine is None or own is None or min(mine.low, own.low) <= 0:
        return None
    return unpaired_ratio(mine, own)


def _part(kind: Metric, measured: Measurement | None, baseline: Measurement | None) -> str:
    if measured is None or measured.value is None:
        missing = baseline is not None and baseline.value is not None
        return f"{kind.label} not measured" if missing else ""
    if kind.family is Family.ACCURACY:
        return f"{kind.label} {_small(kind, measured.value)}"
    if baseline is not None and kind.tied(measured.value, baseline.value):
        return f"same {kind.label}"
    ratio = ratio_to_baseline(measured, baseline)
    if ratio is None:
        return f"{kind.label} {measured.value:.3g} {kind.unit}"
    return f"{_change(kind, ratio)} {kind.label}{_doubt(measured, baseline)}"


def _small(kind: Metric, value: float) -> str:
    """A loss; below the metric's resolution its digits mean nothing."""
    if 0 < abs(value) < kind.resolution:
        return f"<{kind.resolution:g}"
    return f"{value:.2g}" if abs(value) < 1 else f"{value:.3g}"


def _change(kind: Metric, ratio: float) -> str:
    if kind.direction is Direction.MAXIMIZE:
        return f"{ratio:.2f}{TIMES}" if ratio < 10 else f"{ratio:.3g}{TIMES}"
    percent = round(100 * (ratio - 1))
    if percent == 0:
        return "same"
    return f"{'+' if percent > 0 else MINUS}{abs(percent)} %"


def _doubt(measured: Measurement, baseline: Measurement | None) -> str:
    if measured.grade is Grade.C:
        return " (disturbed)"
    told, own = measured.ratio_interval, baseline.interval if baseline else None
    if told is not None:
        within = told.low <= 1 <= told.high
    else:
        one = measured.interval
        within = (
            one is not None and own is not None and one.low <= own.high and own.low <= one.high
        )
    return " (within noise)" if within else ""

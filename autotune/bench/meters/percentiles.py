"""Percentiles of latencies over single requests and single tokens, only where there are enough."""

from __future__ import annotations

from collections.abc import Sequence

from autotune.bench.engines.base import Timing
from autotune.messages import Measurement, Metrics
from autotune.metrics import PERCENTILES, percentile_name
from autotune.statistics import fewest_for_quantile, quantile_interval


def percentile_metrics(timings: Sequence[Timing], task: str) -> Metrics:
    """Percentiles of time to first token, inter-token latency and end-to-end latency.

    The requests of all blocks are pooled. They are not paired with the baseline's, so that two
    trials' percentiles may differ because the machine did.

    Args:
        timings: The requests of every block since the warm-up.
        task: Encoders have end-to-end latencies only.
    """
    found = _percentiles("e2e_latency", [t.last - t.start for t in timings])
    if task == "causal-lm":
        found |= _percentiles("ttft", [t.first - t.start for t in timings])
        found |= _percentiles("itl", [gap for t in timings for gap in t.gaps])
    return found


def _percentiles(latency: str, seconds: Sequence[float]) -> Metrics:
    return {percentile_name(latency, p): _percentile(seconds, p) for p in PERCENTILES}


def _percentile(seconds: Sequence[float], percent: int) -> Measurement:
    fewest = fewest_for_quantile(percent / 100)
    if len(seconds) < fewest:
        reason = f"{len(seconds)} values; a 95 % interval of p{percent} needs {fewest}"
        return Measurement(value=None, unit="s", source="unavailable", reason=reason)
    interval = quantile_interval(seconds, percent / 100)
    return Measurement.of(interval, "s", f"p{percent}", "single requests of all blocks")

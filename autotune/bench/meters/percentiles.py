"""Percentiles of latencies over single requests and single tokens, only where there are enough."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from autotune.engine import Timing
from autotune.messages import Measurement, Metrics
from autotune.metrics import PERCENTILES, percentile_name
from autotune.statistics import fewest_for_quantile, quantile_interval

_MOST = 20_000
"""Values kept of each latency, the latest ones."""


class Latencies:
    """The latencies of single requests, in seconds. Bounded and packed, because it lies in the
    memory that is measured, and a baseline's session lives as long as the search."""

    def __init__(self) -> None:
        self._seconds = {name: array("d") for name in ("ttft", "itl", "e2e_latency")}

    def clear(self) -> None:
        """Forgets the warm-up."""
        for values in self._seconds.values():
            del values[:]

    def add(self, timings: Iterable[Timing]) -> None:
        """Takes in the requests of a block."""
        for timing in timings:
            self._seconds["ttft"].append(timing.first - timing.start)
            self._seconds["itl"].extend(timing.gaps)
            self._seconds["e2e_latency"].append(timing.last - timing.start)
        for values in self._seconds.values():
            del values[:-_MOST]

    def percentiles(self, task: str) -> Metrics:
        """Percentiles of time to first token, inter-token latency and end-to-end latency.

        The requests of all blocks are pooled, and their intervals take them as independent. They
        are not paired with the baseline's, so that two trials' percentiles may differ because
        the machine did.

        Args:
            task: Encoders have end-to-end latencies only.
        """
        names = self._seconds if task == "causal-lm" else ("e2e_latency",)
        return {
            percentile_name(name, percent): _percentile(self._seconds[name], percent)
            for name in names
            for percent in PERCENTILES
        }


def _percentile(seconds: Sequence[float], percent: int) -> Measurement:
    fewest = fewest_for_quantile(percent / 100)
    if len(seconds) < fewest:
        reason = f"{len(seconds)} values; a 95 % interval of p{percent} needs {fewest}"
        return Measurement.unavailable("s", reason)
    interval = quantile_interval(seconds, percent / 100)
    return Measurement.of(interval, "s", f"p{percent}", "single requests of all blocks")

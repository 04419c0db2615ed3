"""Percentiles of latencies, as metrics."""

from __future__ import annotations

from typing import Any

from autotune.metrics.elsewhere import VLLM
from autotune.metrics.kinds import DOWN, GENERATES, Family, Metric
from autotune.statistics import fewest_for_quantile

PERCENTILES = (50, 90, 95, 99)
"""The percentiles that are taken of a latency."""


def percentile_name(latency: str, percent: int) -> str:
    """The metric of a percentile: ``ttft_p99_seconds``."""
    return f"{latency}_p{percent}_seconds"


def _percentiles(latency: str, formula: str, label: str, **more: Any) -> tuple[Metric, ...]:
    short = {"ttft": "ttft", "itl": "itl", "e2e_latency": "e2el"}[latency]
    return tuple(
        Metric(
            percentile_name(latency, percent),
            "s",
            DOWN,
            Family.TAIL,
            f"{percent}th percentile of {formula}; null with fewer than "
            f"{fewest_for_quantile(percent / 100)} of them",
            f"{label} p{percent}",
            elsewhere={VLLM: f"p{percent}_{short}_ms"},
            **more,
        )
        for percent in PERCENTILES
    )


PERCENTILE_METRICS = (
    *_percentiles("ttft", "t1 - t0 over the requests of all blocks", "TTFT", tasks=GENERATES),
    *_percentiles(
        "itl",
        "the gaps between output tokens after the first, pooled over the requests of all blocks",
        "ITL",
        tasks=GENERATES,
    ),
    *_percentiles("e2e_latency", "tn - t0 over the requests of all blocks", "E2E latency"),
)

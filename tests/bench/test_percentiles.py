"""Percentiles are given only where there are enough values for an interval."""

from __future__ import annotations

import pytest

from autotune.bench.meters.percentiles import Latencies
from autotune.engine import Timing
from autotune.messages import Metrics


def requests(count: int, gaps: int = 3) -> list[Timing]:
    """Times to first token of 1, 2, 3... seconds; gaps of half a second."""
    return [
        Timing(0.0, 1.0 + i, 1.0 + i + gaps / 2, 1, 8, gaps + 1, (0.5,) * gaps)
        for i in range(count)
    ]


def percentile_metrics(timings: list[Timing], task: str) -> Metrics:
    latencies = Latencies()
    latencies.add(requests(3))  # the warm-up
    latencies.clear()
    for timing in timings:
        latencies.add([timing])
    return latencies.percentiles(task)


def test_only_the_latest_requests_are_kept() -> None:
    latencies = Latencies()
    latencies.add(requests(20_400, gaps=0))
    found = latencies.percentiles("causal-lm")["ttft_p50_seconds"]
    assert found.n == 20_000
    assert found.value == pytest.approx(10_400.5)


@pytest.mark.parametrize(("percent", "fewest"), [(50, 6), (90, 36), (95, 72), (99, 368)])
def test_percentile_needs_enough_requests(percent: int, fewest: int) -> None:
    name = f"ttft_p{percent}_seconds"
    few = percentile_metrics(requests(fewest - 1), "causal-lm")[name]
    assert few.value is None
    assert few.reason == (f"{fewest - 1} values; a 95 % interval of p{percent} needs {fewest}")
    enough = percentile_metrics(requests(fewest), "causal-lm")[name]
    assert enough.value == pytest.approx(1 + (fewest - 1) * percent / 100)
    assert enough.ci_low is not None
    assert enough.ci_high is not None
    assert enough.ci_low < enough.value <= enough.ci_high <= fewest
    assert (enough.n, enough.unit, enough.stat) == (fewest, "s", f"p{percent}")


def test_gaps_are_pooled_over_requests() -> None:
    found = percentile_metrics(requests(12), "causal-lm")
    assert found["itl_p90_seconds"].value == 0.5
    assert found["itl_p90_seconds"].n == 36
    assert found["ttft_p90_seconds"].value is None


def test_engine_without_token_times_gives_no_itl() -> None:
    found = percentile_metrics(requests(400, gaps=0), "causal-lm")
    assert found["itl_p50_seconds"].reason.startswith("0 values")
    assert found["e2e_latency_p99_seconds"].value is not None


def test_encoder_has_end_to_end_latencies_only() -> None:
    found = percentile_metrics(requests(6, gaps=0), "feature-extraction")
    assert set(found) == {f"e2e_latency_p{p}_seconds" for p in (50, 90, 95, 99)}

"""Shares of the roof, and what bounds a pass."""

from __future__ import annotations

import pytest

from autotune.messages import Grade, Measurement, Metrics
from autotune.metrics import METRICS
from autotune.metrics.roof import FORMATS, matmul_rate_name
from autotune.roof import Bound, bound, rescaled, utilizations, what_bounds


def of(name: str, value: float | None, **more: object) -> Measurement:
    return Measurement.model_validate({"value": value, "unit": METRICS[name].unit, **more})


def metrics(**values: float | None) -> Metrics:
    return {name: of(name, value) for name, value in values.items()}


ROOF = metrics(
    roof_float32_flops_per_second=100e9,
    roof_copy_bytes_per_second=20e9,
    roof_read_bytes_per_second=30e9,
    roof_cache_bytes=32e6,
)
NO_INT8 = {matmul_rate_name("int8"): of(matmul_rate_name("int8"), None, reason="no kernel")}
TIMED: Metrics = {
    "ttft_seconds": of("ttft_seconds", 0.2, ci_low=0.16, ci_high=0.25, n=7, grade=Grade.B),
    "tpot_seconds": of("tpot_seconds", 0.1, stat="median_ratio", ratio=0.5, converged=False),
    **metrics(
        prompt_flops=10e9, prompt_bytes=0.6e9, decode_step_flops=1e9, decode_step_bytes=1.5e9
    ),
}


def test_share_is_work_over_time_over_rate_with_the_timings_interval() -> None:
    found = utilizations(TIMED, ROOF, "float32")
    prompt, step = found["model_flops_utilization"], found["bandwidth_utilization"]
    assert prompt.value == pytest.approx(0.5)
    assert (prompt.ci_low, prompt.ci_high) == (pytest.approx(0.4), pytest.approx(0.625))
    assert (prompt.n, prompt.grade, prompt.ratio) == (7, Grade.B, None)
    assert prompt.source == "over roof_float32_flops_per_second"
    assert step.value == pytest.approx(0.5), "the faster of copying and reading"
    assert step.source == "over roof_read_bytes_per_second"
    assert (step.converged, step.ci_low, step.ci_high) == (False, None, None)
    assert found["decode_flops_utilization"].value == pytest.approx(0.1)
    assert found["prompt_bandwidth_utilization"].value == pytest.approx(0.1)


def test_computing_faster_than_the_device_can_is_no_share() -> None:
    """A rate that was measured while something else ran says nothing, however it was graded."""
    slow = ROOF | metrics(roof_float32_flops_per_second=1e9)
    found = utilizations(TIMED, slow, "float32")
    assert found["model_flops_utilization"].value is None
    assert "measured while the machine was disturbed" in found["model_flops_utilization"].reason
    assert "prefill" not in what_bounds(TIMED | found, slow)
    wide = {"ttft_seconds": of("ttft_seconds", 0.2, ci_low=0.01, ci_high=9.0)}
    unsure = utilizations(TIMED | wide, slow, "float32")["model_flops_utilization"]
    assert unsure.value is None, "many times the rate, whatever its interval"
    beyond = utilizations(TIMED, ROOF | metrics(roof_read_bytes_per_second=1e9), "float32")
    assert beyond["bandwidth_utilization"].value == pytest.approx(0.75), "of the copy rate"


def test_disturbed_rate_disturbs_the_share() -> None:
    name = matmul_rate_name("float32")
    rate = ROOF[name].model_copy(update={"grade": Grade.C})
    found = utilizations(TIMED, ROOF | {name: rate}, "float32")
    assert found["model_flops_utilization"].grade is Grade.C
    assert found["prompt_bandwidth_utilization"].grade is Grade.B
    quiet = {"ttft_seconds": TIMED["ttft_seconds"].model_copy(update={"grade": Grade.A})}
    again = rescaled(TIMED | found, TIMED | quiet)
    assert again["model_flops_utilization"].grade is Grade.C
    assert again["prompt_bandwidth_utilization"].grade is Grade.A
    assert ", disturbed" in what_bounds(found | TIMED, ROOF)


def test_share_above_one_is_not_clipped() -> None:
    fast = TIMED | metrics(tpot_seconds=0.01)
    assert utilizations(fast, ROOF, "float32")["bandwidth_utilization"].value == pytest.approx(5)


def test_encoder_has_the_shares_of_its_one_pass() -> None:
    given = metrics(e2e_latency_seconds=0.2, prompt_flops=10e9, prompt_bytes=3e9)
    found = utilizations(given, ROOF, "float32")
    assert found.keys() == {"model_flops_utilization", "prompt_bandwidth_utilization"}
    assert what_bounds(given | found, ROOF) == "compute (50 %) in the forward pass"


@pytest.mark.parametrize(
    ("roof", "form", "reason"),
    [
        ({}, "float32", "the study's baseline was measured without the device's rates"),
        (ROOF, "float64", "no matmul rate of float64 is measured"),
        (ROOF | NO_INT8, "int8", "no kernel"),
    ],
)
def test_share_without_a_rate_is_null_with_the_reason(
    roof: Metrics, form: str, reason: str
) -> None:
    found = utilizations(TIMED, roof, form)["model_flops_utilization"]
    assert (found.value, found.reason) == (None, reason)
    assert utilizations(metrics(ttft_seconds=1.0), roof, form) == {}, "no work, no share"


def test_shares_follow_new_timings() -> None:
    before = TIMED | utilizations(TIMED, ROOF, "float32")
    new = of("ttft_seconds", 0.4, ci_low=0.32, ci_high=0.5, stat="confirmed_ratio", n=3)
    found = rescaled(before, before | {"ttft_seconds": new})
    again = found["model_flops_utilization"]
    assert again.value == pytest.approx(0.25)
    assert (again.ci_low, again.ci_high) == (pytest.approx(0.2), pytest.approx(0.3125))
    assert again.stat == "confirmed_ratio"
    assert found["bandwidth_utilization"].value == before["bandwidth_utilization"].value
    assert rescaled(TIMED, TIMED) == {}, "an old trial has none"


@pytest.mark.parametrize(
    ("flops", "bandwidth", "fits", "expected"),
    [
        (0.8, 0.1, False, Bound.COMPUTE),
        (0.8, 0.6, False, Bound.COMPUTE),
        (0.5, 0.1, None, Bound.COMPUTE),
        (1.2, 0.1, False, Bound.COMPUTE),
        (0.6, 0.9, False, Bound.BANDWIDTH),
        (0.6, 0.9, True, Bound.COMPUTE),
        (0.6, 3.0, True, Bound.COMPUTE),
        (0.1, 0.5, False, Bound.BANDWIDTH),
        (0.1, 1.1, False, Bound.BANDWIDTH),
        (0.1, 1.1, None, Bound.CACHE),
        (0.1, 1.1, True, Bound.CACHE),
        (0.1, 0.9, True, Bound.OVERHEAD),
        (0.49, 0.49, False, Bound.OVERHEAD),
        (0.0, 0.0, None, Bound.OVERHEAD),
        (None, 0.7, False, Bound.BANDWIDTH),
        (0.7, None, None, Bound.COMPUTE),
        (None, 0.2, False, None),
        (0.2, None, None, None),
        (None, None, None, None),
    ],
)
def test_bound(
    flops: float | None, bandwidth: float | None, fits: bool | None, expected: Bound | None
) -> None:
    assert bound(flops, bandwidth, fits) is expected


@pytest.mark.parametrize(
    ("step", "reads", "words"),
    [
        ((0.01, 0.714), 1e9, "memory bandwidth (71 %)"),
        ((0.01, 1.8), 1e6, "cache (180 % of memory's rate: what it reads fits into cache)"),
        ((0.012, 0.3), 1e6, "overhead (compute 1.2 %, memory 30 %)"),
        ((0.012, 0.3), 1e9, "overhead (compute 1.2 %, memory 30 %)"),
    ],
)
def test_bounds_in_words(step: tuple[float, float], reads: float, words: str) -> None:
    given = metrics(
        ttft_seconds=1.0,
        model_flops_utilization=0.62,
        prompt_bandwidth_utilization=0.2,
        decode_flops_utilization=step[0],
        bandwidth_utilization=step[1],
        decode_step_bytes=reads,
    )
    assert what_bounds(given, ROOF) == f"compute (62 %) in prefill; {words} in decode"


def test_old_trial_is_bound_by_nothing_that_is_known() -> None:
    assert what_bounds(metrics(ttft_seconds=1.0, tpot_seconds=0.1), {}) == ""


def test_every_format_has_a_rate() -> None:
    assert {matmul_rate_name(form) for form in FORMATS} <= set(METRICS)

"""Numbers as people read them."""

from __future__ import annotations

import pytest

from autotune.messages import Measurement
from autotune.report import format


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("ttft_seconds", 0.01213, "12.1 ms"),
        ("ttft_seconds", 0.9999, "1,000 ms"),
        ("ttft_seconds", 42e-6, "42.0 \N{MICRO SIGN}s"),
        ("load_seconds", 3.456, "3.46 s"),
        ("load_seconds", 600, "10.0 min"),
        ("weights_bytes", 1.5 * 2**30, "1.50 GiB"),
        ("weights_bytes", 21 * 2**20, "21.0 MiB"),
        ("weights_bytes", 0, "0 B"),
        ("energy_per_output_token_joules", 0.0213, "21.3 mJ"),
        ("avg_power_watts", 312, "312 W"),
        ("output_tokens_per_second", 812.34, "812"),
        ("output_tokens_per_second", 123456, "123,000"),
        ("output_tokens_per_second", 9.999, "10.0"),
        ("kld_mean_nats", 0.00312, "0.00312"),
        ("kld_mean_nats", 0.0000312, "3.12e-05"),
        ("nll_delta_nats", -0.01, "-0.0100"),
        ("perplexity", None, "\N{EN DASH}"),
        ("perplexity", float("inf"), "inf"),
    ],
)
def test_quantity(name: str, value: float | None, text: str) -> None:
    assert format.quantity(name, value) == text


def test_measured_shows_half_the_interval() -> None:
    speed = Measurement(value=812, unit="1/s", ci_low=797.4, ci_high=826.6)
    assert format.measured("output_tokens_per_second", speed) == "812 \N{PLUS-MINUS SIGN}1.8 %"
    wild = speed.model_copy(update={"ci_low": -2e4, "ci_high": 4e4})
    assert format.interval("output_tokens_per_second", wild) == "\N{PLUS-MINUS SIGN}over 100 %"
    loss = Measurement(value=0.0031, unit="nat", ci_low=0.0027, ci_high=0.0035)
    assert format.measured("kld_mean_nats", loss) == "0.00310 \N{PLUS-MINUS SIGN}0.0004"
    exact = Measurement(value=2.0**20, unit="B")
    assert format.measured("weights_bytes", exact) == "1.00 MiB"
    assert format.measured("weights_bytes", None) == "\N{EN DASH}"


def test_ratio_to_the_baseline() -> None:
    mine, base = Measurement(value=10, unit="s"), Measurement(value=4, unit="s")
    assert format.ratio("ttft_seconds", mine, base) == "2.50\N{MULTIPLICATION SIGN}"
    assert format.ratio("ttft_seconds", mine, None) == ""
    assert format.ratio("ttft_p90_seconds", mine, base) == "", "percentiles are not paired"
    assert (
        format.ratio("ttft_seconds", Measurement(value=120, unit="s"), base)
        == "30.0\N{MULTIPLICATION SIGN}"
    )


def test_a_ratio_that_the_metric_cannot_resolve_is_said_so() -> None:
    mine, base = Measurement(value=6 << 20, unit="B"), Measurement(value=3 << 20, unit="B")
    assert format.ratio("host_model_peak_bytes", mine, base) == "same"
    assert format.ratio("weights_bytes", mine, mine) == "1.00\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 recipes"), (1, "1 recipe"), (2000, "2,000 recipes")]
)
def test_counted(count: int, text: str) -> None:
    assert format.counted(count, "recipe") == text


@pytest.mark.parametrize(("seconds", "text"), [(45, "45 s"), (720, "12 min"), (12600, "3.5 h")])
def test_duration(seconds: float, text: str) -> None:
    assert format.duration(seconds) == text


def test_loss_under_the_resolution_is_said_so_and_has_no_ratio() -> None:
    tiny = Measurement(value=-2e-6, unit="nat", ci_low=-9e-6, ci_high=5e-6)
    assert format.measured("kld_mean_nats", tiny) == "<0.0001"
    assert format.interval("kld_mean_nats", tiny) == ""
    assert format.ratio("kld_mean_nats", tiny, tiny) == ""
    wide = tiny.model_copy(update={"ci_high": 5e-4})
    assert format.measured("kld_mean_nats", wide).startswith("-2.00e-06")

"""Limits: reading them, how far outside a value is, what nothing can meet."""

from __future__ import annotations

import pytest

from autotune.constraints import Constraint, explain, parse, parse_all
from autotune.errors import InputError
from autotune.messages import Measurement, Metrics

KLD = parse("kld_mean_nats<=0.05")
SPEED = parse("output_tokens_per_second>=100")


def kld(value: float | None, low: float | None = None, high: float | None = None) -> Metrics:
    return {"kld_mean_nats": Measurement(value=value, unit="nat", ci_low=low, ci_high=high)}


def speed(value: float, low: float, high: float) -> Metrics:
    found = Measurement(value=value, unit="1/s", ci_low=low, ci_high=high)
    return {"output_tokens_per_second": found}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kld_mean_nats<=0.05", Constraint("kld_mean_nats", True, 0.05)),
        ("  kld_mean_nats  <=  5e-2 ", Constraint("kld_mean_nats", True, 0.05)),
        ("nll_delta_nats<=-.5", Constraint("nll_delta_nats", True, -0.5)),
        ("weights_bytes>=+1E9", Constraint("weights_bytes", False, 1e9)),
    ],
)
def test_parse(text: str, expected: Constraint) -> None:
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kld_mean_nats",
        "kld_mean_nats<0.05",
        "kld_mean_nats==0.05",
        "kld_mean_nats<=",
        "kld_mean_nats<=nan",
        "kld_mean_nats<=inf",
        "kld_mean_nats<=1e999",
        "kld_mean_nats<=5%",
        "kld_mean_nats<=1-2",
        "0.05>=kld_mean_nats",
        "kld_mean_nats<=0.05; weights_bytes<=1",
    ],
)
def test_parse_refuses(text: str) -> None:
    with pytest.raises(InputError, match="expected metric<=number or metric>=number"):
        parse(text)


def test_parse_unknown_metric_suggests() -> None:
    with pytest.raises(InputError, match="did you mean 'kld_mean_nats'"):
        parse("kld_nats<=0.05")


@pytest.mark.parametrize(
    ("metrics", "violation"),
    [
        (kld(0.05), 0.0),
        (kld(0.025), -0.5),
        (kld(0.1), 1.0),
        (kld(0.04, 0.03, 0.06), 0.2),
        (kld(None), 1.0),
        ({}, 1.0),
    ],
)
def test_violation_takes_the_worse_end(metrics: Metrics, violation: float) -> None:
    assert KLD.violation(metrics) == pytest.approx(violation)


def test_violation_of_a_lower_limit() -> None:
    assert SPEED.violation(speed(120, 110, 130)) == pytest.approx(-0.1)
    assert SPEED.violation(speed(120, 50, 130)) == pytest.approx(0.5)


def test_violation_of_a_bound_of_zero_is_absolute() -> None:
    assert parse("nll_delta_nats<=0").violation(
        {"nll_delta_nats": Measurement(value=0.25, unit="nat")}
    ) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("metrics", "sure"),
    [
        (kld(0.04, 0.03, 0.06), False),
        (kld(0.06, 0.04, 0.08), False),
        (kld(0.07, 0.06, 0.08), True),
        (kld(0.06), True),
        (kld(None), False),
        ({}, False),
    ],
)
def test_surely_violated_takes_the_better_end(metrics: Metrics, sure: bool) -> None:
    assert KLD.surely_violated(metrics) is sure


def test_surely_violated_of_a_lower_limit() -> None:
    assert SPEED.surely_violated(speed(80, 70, 90))
    assert not SPEED.surely_violated(speed(80, 70, 100))


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["kld_mean_nats<=0.05", "output_tokens_per_second>=10"],
        ["weights_bytes>=5", "weights_bytes<=5"],
        ["weights_bytes<=5", "weights_bytes<=7"],
    ],
)
def test_parse_all_accepts(texts: list[str]) -> None:
    assert [str(c) for c in parse_all(texts)] == texts


def test_limit_below_what_is_possible_is_refused() -> None:
    with pytest.raises(InputError, match="kld_mean_nats is never negative"):
        parse_all(["kld_mean_nats<=-1"])
    assert [str(c) for c in parse_all(["nll_delta_nats<=-0.1"])] == ["nll_delta_nats<=-0.1"]


@pytest.mark.parametrize(
    "texts",
    [
        ["weights_bytes>=6", "weights_bytes<=5"],
        ["weights_bytes<=5", "kld_mean_nats<=1", "weights_bytes>=6"],
    ],
)
def test_parse_all_refuses_a_contradiction(texts: list[str]) -> None:
    with pytest.raises(InputError, match="weights_bytes>=6 and weights_bytes<=5 contradict"):
        parse_all(texts)


def test_explain_names_what_does_not_hold() -> None:
    assert explain([KLD, SPEED], kld(0.01) | speed(120, 110, 130)) == ""
    assert explain([KLD, SPEED], kld(0.1) | speed(120, 110, 130)) == (
        "kld_mean_nats is 0.1 at the end of its interval, wanted kld_mean_nats<=0.05"
    )
    assert "not measured" in explain([KLD, SPEED], kld(0.01))

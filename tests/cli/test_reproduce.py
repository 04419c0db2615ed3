"""What ``autotune reproduce`` prints; that it measures is in ``test_search``."""

from __future__ import annotations

import pytest

from autotune.cli.reproduce import print_checks
from autotune.messages import Grade, Measurement
from autotune.search.reproduce import Check

SPEED, MEMORY = "output_tokens_per_second", "host_model_peak_bytes"


def speed(ratio: float) -> Measurement:
    return Measurement(
        value=100 * ratio, unit="1/s", ratio=ratio, ratio_ci_low=0.9 * ratio, ratio_ci_high=2.0
    )


def memory(mebibytes: float) -> Measurement:
    value = mebibytes * 2**20
    return Measurement(value=value, unit="B", ci_low=value, ci_high=value)


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "150")


def test_a_verdict_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    checks = [Check(SPEED, speed(1.5), speed(1.6)), Check(MEMORY, memory(8), memory(9))]
    print_checks(checks, "s #5: batch size=8", (SPEED, MEMORY))
    shown = capsys.readouterr().out
    assert "s #5: batch size=8" in shown
    assert "8.00 MiB" in shown
    assert "holds: closer than it resolves" in shown
    assert "2 of 2 numbers hold; objectives outside: none" in shown


def test_objectives_that_do_not_hold_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    print_checks([Check(SPEED, speed(1.5), speed(3.0))], "s #5", (SPEED,))
    shown = capsys.readouterr().out
    assert f"0 of 1 numbers hold; objectives outside: {SPEED}" in shown
    assert "outside, and better" in shown


def test_what_is_outside_and_worse_is_not_called_better(
    capsys: pytest.CaptureFixture[str],
) -> None:
    checks = [Check(SPEED, speed(1.5), speed(0.5)), Check(MEMORY, memory(80), memory(90))]
    print_checks(checks, "s #5", (SPEED, MEMORY))
    shown = capsys.readouterr().out
    assert shown.count("outside") == 3  # of both, and of the summary
    assert "better" not in shown
    print_checks([Check(MEMORY, memory(90), memory(80))], "s #5", (MEMORY,))
    assert "outside, and better" in capsys.readouterr().out


def test_what_holds_in_an_interval_too_wide_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    stored = speed(1.5).model_copy(update={"grade": Grade.C})
    print_checks([Check(SPEED, stored, speed(1.6))], "s #5", (SPEED,))
    shown = capsys.readouterr().out
    assert "holds, in an interval too wide to tell (grade C)" in shown
    assert "1 of 1 numbers hold, 1 of them in an interval too wide to tell" in shown

"""``autotune metrics`` shows the catalogue."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from autotune.cli.__main__ import app
from autotune.errors import InputError
from autotune.metrics import METRICS


def output(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["metrics", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_list_shows_every_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    lines = output().splitlines()
    for metric in METRICS.values():
        (row,) = (line.split() for line in lines if line.split()[:1] == [metric.name])
        better = "higher" if metric.direction == "maximize" else "lower"
        assert row[1:3] == [metric.unit, better]
        assert " ".join(metric.formula.split()) in " ".join(row)


def test_one_is_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = output("tpot_seconds")
    for words in ("(tn - t1)/(n - 1)", "lower", "speed", "inter_token_latency_ms", "mean_tpot_ms"):
        assert words in shown


def test_json_holds_the_whole_catalogue() -> None:
    rows = json.loads(output("--json"))
    assert [row["name"] for row in rows] == list(METRICS)
    one = json.loads(output("ttft_seconds", "--json"))
    assert one == next(row for row in rows if row["name"] == "ttft_seconds")
    assert one["elsewhere"]["aiperf"] == "time_to_first_token"
    assert one["direction"] == "minimize"


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'tpot_seconds'"):
        output("tpot_second")

"""``autotune pareto --pick`` on a real database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import known_study as known
from autotune.report.front_file import Point
from autotune.report.summary import StudySummary
from stored_study import store_study

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def summary(tmp_path: Path) -> StudySummary:
    """A study in the database of the folder in which the commands run."""
    url = f"sqlite:///{tmp_path}/autotune.db"
    return store_study(url, "known", known.random_study(24), known.study().objectives)


def pareto(run_main: Run, *arguments: str) -> tuple[int, str, str]:
    return run_main("pareto", "known", "--output", ".", *arguments)


def test_pick_shows_the_point_with_what_it_was_asked_for(
    summary: StudySummary, run_main: Run
) -> None:
    text = f"max {known.SPEED} where {known.KLD}<0.05 and {known.WEIGHTS}<=0.6*baseline"
    code, out, error = pareto(run_main, "--pick", text)
    assert (code, error) == (0, "")
    point = summary.choose(text)
    assert out.strip().startswith(f"#{point.number}: ")
    assert "quantize int8" in out
    assert summary.against_baseline(point) in out
    assert "not confirmed in fresh processes" in out


@pytest.mark.parametrize("pick", ["balanced", "3", "#3", "baseline", f"min {known.WEIGHTS}"])
def test_json_is_the_point(summary: StudySummary, run_main: Run, pick: str) -> None:
    code, out, error = pareto(run_main, "--pick", pick, "--json")
    assert (code, error) == (0, "")
    assert Point.model_validate(json.loads(out)).number == summary.choose(pick).number


def test_what_cannot_be_picked_ends_with_code_2(summary: StudySummary, run_main: Run) -> None:
    assert summary.points
    code, out, error = pareto(run_main, "--pick", f"max {known.SPEED} where {known.KLD}<<1")
    assert (code, out) == (2, "")
    shown, marked = error.splitlines()[1:3]
    assert shown[marked.index("^")] == "<"
    code, _, error = pareto(run_main, "--pick", f"max {known.SPEED} where {known.WEIGHTS}<1")
    assert code == 2
    assert "nearest comes #" in error

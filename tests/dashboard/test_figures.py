"""What figures draw, against the metrics that it is drawn from."""

from __future__ import annotations

import re

import pytest

import known_study
from autotune.explain import explain
from autotune.figures import effects_figure, front_figure, parallel_figure
from autotune.report.page_data import axes_of
from autotune.report.summary import StudySummary
from known_study import KLD, SPEED, WEIGHTS


@pytest.fixture(scope="module")
def summary() -> StudySummary:
    return StudySummary.of(
        known_study.study(["kld_mean_nats<=0.05"]), known_study.random_study(30)
    )


@pytest.fixture(scope="module")
def factors(summary: StudySummary) -> dict[str, float]:
    """By what each axis divides."""
    return {axis["name"]: axis["factor"] for axis in axes_of(summary)}


@pytest.mark.parametrize(("x", "y"), [(WEIGHTS, SPEED), (KLD, SPEED), (KLD, WEIGHTS)])
def test_points_of_the_front_stand_where_they_were_measured(
    summary: StudySummary, factors: dict[str, float], x: str, y: str
) -> None:
    seen = []
    for trace in front_figure(summary, x, y)["data"]:
        for i, title in enumerate(trace["customdata"]):
            found = re.match(r"trial (\d+):", title)
            assert found
            seen.append(int(found[1]))
            metrics = summary.by_number[seen[-1]].metrics
            for letter, name in (("x", x), ("y", y)):
                bars, value = trace[f"error_{letter}"], trace[letter][i]
                drawn = (value - bars["arrayminus"][i], value, value + bars["array"][i])
                given = metrics[name]
                told = [given.low, given.value, given.high]
                close = pytest.approx(told, rel=1e-4, abs=1e-9)
                assert [place * factors[name] for place in drawn] == close
    assert sorted(seen) == sorted(summary.by_number)


def test_lines_pass_through_the_values(summary: StudySummary, factors: dict[str, float]) -> None:
    trace = parallel_figure(summary)["data"][0]
    by_label = {one["label"]: one["values"] for one in trace["dimensions"]}
    for axis in axes_of(summary):
        values = by_label[axis["label"]]
        shown = [(10**v if axis["log"] else v) * axis["factor"] for v in values]
        told = [point.value(axis["name"]) for point in summary.points]
        assert sorted(shown) == pytest.approx(sorted(told))


def test_bars_of_effects_are_their_intervals(summary: StudySummary) -> None:
    found = explain(summary.study, summary.trials)
    traces = [t for t in effects_figure(found)["data"] if t["name"] == "average over all else"]
    assert len(traces) == len(found.metrics)
    for name, trace in zip(found.metrics, traces, strict=True):
        bars = trace["error_x"]
        for i, plugin in enumerate(trace["y"]):
            told = next(
                e.estimate
                for e in found.effects
                if e.metric == name and e.choice.plugin == plugin and not e.choice.param
            )
            assert told is not None
            ends = [told.low, told.value, told.high]
            if name != KLD:
                ends = [None if end is None else 100 * (end - 1) for end in ends]
            ends = [ends[1] if end is None else end for end in ends]
            middle = trace["x"][i]
            drawn = [middle - bars["arrayminus"][i], middle, middle + bars["array"][i]]
            assert drawn == pytest.approx(ends)

"""Studies of every condition as a notebook shows them."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest

import known_study
from autotune.dashboard.view import StudyView
from autotune.errors import InputError
from autotune.launch.place import Place
from autotune.metrics import METRICS
from autotune.notebook import Study
from autotune.outcome import Outcome
from autotune.report.csv_file import csv_text
from autotune.report.json_file import report_file
from autotune.report.page_data import page_data
from autotune.store.records import StudyState
from autotune.store.state import DEAD

HOSTILE = "<script>alert(1)</script>"


def study_of(trials: list[Any], **more: Any) -> Study:
    return Study(known_study.study(**more), trials, Place(Path("studies")))


@pytest.fixture(scope="module")
def study() -> Study:
    trials = known_study.random_study(30)
    failed = {"batch": {"size": 8}, "compile": {"on": True}}
    return study_of(
        [*trials, known_study.trial(30, failed, None, Outcome.CRASHED, f"because of {HOSTILE}")],
        constraints=["kld_mean_nats<=0.05"],
        notes=(HOSTILE,),
    )


def test_trials_are_found_by_what_they_are(study: Study) -> None:
    assert study.baseline is study.trials[0]
    assert [t.number for t in study.front] == [p.number for p in study.summary.front]
    assert all(trial.is_on_front and trial.feasible for trial in study.front)
    assert {name: t.number for name, t in study.picks.items()} == {
        name: point.number for name, point in study.summary.picks.items()
    }
    assert study.pick("balanced").picks.count("balanced") == 1
    assert study.trials[30].outcome == "crashed"
    assert study.trials[30].metrics == {}
    assert [t.number for t in study.trials[2:4]] == [2, 3]


def test_unknown_pick_names_those_there_are(study: Study) -> None:
    with pytest.raises(InputError, match=r"no pick named 'balance'; did you mean 'balanced'"):
        study.pick("balance")


def test_html_shows_everything_as_text(study: Study) -> None:
    shown = [study._repr_html_(), study.trials._repr_html_(), study.trials[30]._repr_html_()]
    assert not any("<script" in html for html in shown)
    assert "because of &lt;script&gt;" in shown[1]
    assert "quantize int8" in shown[1]
    assert "crashed" in repr(study.trials[30])


def test_data_frame_holds_values_with_their_intervals(study: Study) -> None:
    frame = study.to_dataframe()
    assert len(frame) == 31
    speed, trial = "output_tokens_per_second", study.trials[2]
    row = frame.loc[2]
    assert row[[speed, f"{speed}_low", f"{speed}_high"]].tolist() == [
        trial.metrics[speed].value,
        trial.metrics[speed].low,
        trial.metrics[speed].high,
    ]
    assert row["batch.size"] == 4
    assert math.isnan(frame.loc[30, speed])
    assert frame.loc[30, "outcome"] == "crashed"
    assert frame["front"].sum() == len(study.front)
    metrics = {name for name in frame.columns if name in METRICS}
    assert metrics == {speed, "weights_bytes", "kld_mean_nats"}


def test_missing_pandas_is_named(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError, match=r"pip install 'autotune\[notebook\]'"):
        study.to_dataframe()


def test_plots_are_what_plotly_draws(study: Study) -> None:
    front = json.loads(study.plot_front("weights_bytes", "output_tokens_per_second").to_json())
    drawn = sum(len(trace["customdata"]) for trace in front["data"])
    assert drawn == len(study.summary.points)
    assert front["layout"]["xaxis"]["title"]["text"].startswith("weights (KiB), lower")
    with pytest.raises(InputError, match="no measured column named 'ttft_seconds'"):
        study.plot_front("ttft_seconds")
    assert study.plot_effects().data
    assert study.plot_parallel().data[0].type == "parcoords"
    assert list(study.plot_progress().data[0].y) == list(study.summary.hypervolumes)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_study_of_few_trials_is_shown(count: int) -> None:
    few = study_of(known_study.random_study(5)[:count])
    assert "<h3>known" in few._repr_html_()
    assert len(few.to_dataframe()) == count
    for plot in (few.plot_progress, few.plot_parallel, few.plot_effects):
        assert json.loads(plot().to_json())["layout"]


def test_constraint_broken_in_fresh_processes_is_explained_everywhere() -> None:
    found = known_study.random_study(5)
    again = found[2].result
    assert again is not None
    why = "kld_mean_nats is 1, wanted kld_mean_nats<=0.05"
    broken = again.model_copy(update={"outcome": Outcome.INFEASIBLE, "explanation": why})
    found[2] = found[2].model_copy(update={"confirmations": {1: broken}})
    study = study_of(found, constraints=["kld_mean_nats<=0.05"])
    view = StudyView(study.record, found)
    assert study.trials[2].explanation == why
    assert view.attributes(2)["explanation"] == why
    assert why in csv_text(study.summary)
    assert report_file(study.summary).trials[2].explanation == why


def test_trials_of_a_search_that_was_killed_do_not_run() -> None:
    running = known_study.trial(0, {}, None).model_copy(update={"result": None})
    record = known_study.study(state=StudyState.RUNNING)
    place = Place(Path("studies"))
    assert Study(record, [running], place).trials[0].outcome == "running"
    killed = Study(record, [running], place, DEAD)
    assert killed.trials[0].outcome == "not_finished"
    assert DEAD in repr(killed)
    shown = page_data(killed.summary, killed.explain())["trials"][0]
    assert shown["outcome"] == "not finished"

"""Presets: each is a valid study, and gives way to what the study says itself."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import ValidationError

from autotune.cli.options import study_of
from autotune.config import TASKS, StudyFile, build_study
from autotune.errors import InputError
from autotune.metrics import AIMS, DEFAULT_AIMS, METRICS
from autotune.presets import PRESETS, with_preset
from autotune.search.goals import find_goals
from autotune.search.plan import check_study, make_plan
from autotune.search.target import Target
from autotune.testing import fake_device


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_what_there_is(
    name: str, kind: Literal["cpu", "cuda"], task: str
) -> None:
    study = build_study({"model": "demo", "preset": name}, "study.yaml")
    check_study(study)
    target = Target(fake_device(kind), {"energy_source": "a meter"}, "")
    wanted = find_goals(study, task, target).objectives
    assert len(wanted) >= len(PRESETS[name].objectives or DEFAULT_AIMS) - 1


@pytest.mark.parametrize("task", ["causal-lm", "feature-extraction"])
def test_preset_is_planned(task: str, tiny_model: Path, tmp_path: Path) -> None:
    given = {"model": str(tiny_model), "device": "cpu", "task": task, "preset": "quick"}
    plan = make_plan(build_study(given, "study.yaml"), tmp_path, lambda *_: None)
    assert set(plan.registry.plugins) == {"precision", "quantize", "batch", "prune"}
    assert len(plan.pool.recipes) > 50
    assert plan.study.budget.trials == 16


def test_what_the_study_says_counts() -> None:
    own = {"batch": {"size": [3]}}
    study = build_study(
        {"model": "demo", "preset": "quick", "plugins": own, "budget": {"trials": 3}}, "study.yaml"
    )
    assert study.plugins == {"batch": {"size": (3,)}}
    assert (study.budget.trials, study.budget.minutes) == (3, 10)
    assert study.objectives is None
    assert (study.workload.evaluation_positions, study.workload.prompt_tokens) == (1024, 128)


def test_preset_again_changes_nothing() -> None:
    once = with_preset({"model": "demo", "preset": "edge"})
    assert with_preset(once) == once
    assert build_study(StudyFile(**once).definition(), "the stored study") == StudyFile(**once)


def test_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(
        InputError, match=r"no preset named 'speed'.*energy, latency, memory, quick"
    ):
        with_preset({"model": "demo", "preset": "speed"})


def test_preset_counts_wherever_a_study_comes_from() -> None:
    assert StudyFile(model="demo", preset="quick").budget.trials == 16
    with pytest.raises(ValidationError, match="no preset named 'speed'"):
        StudyFile(model="demo", preset="speed")
    with pytest.raises(InputError, match="preset: Input should be a valid string"):
        build_study({"model": "demo", "preset": ["quick"]}, "study.yaml")


def test_options_come_before_the_file_and_the_file_before_the_preset(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text("model: demo\npreset: quick\nbudget: {minutes: 7}\nseed: 3\n")
    given = {"budget.trials": 5, "plugins": ["batch"], "preset": None}
    study = study_of(file, given)
    assert (study.budget.trials, study.budget.minutes, study.seed) == (5, 7, 3)
    assert study.plugins == {"batch": {"size": (1, 4, 16)}}
    assert study_of(file, {"preset": "edge"}).workload.prompt_tokens == 32
    stored = study.model_dump(mode="json")
    assert study_of(None, {"budget.trials": 9}, stored).budget.trials == 9


def test_option_that_says_no_is_heeded_and_a_flag_that_is_not_there_is_none() -> None:
    given = {"model": "demo", "trust_remote_code": False, "warm_start": False}
    study = study_of(None, given, {"model": "other", "trust_remote_code": True})
    assert (study.model, study.warm_start, study.trust_remote_code) == ("demo", False, True)


def test_presets_are_not_changed_by_their_use() -> None:
    before = PRESETS["quick"].keys
    with_preset({"preset": "quick", "budget": {"trials": 1}})["budget"]["minutes"] = 0
    assert PRESETS["quick"].keys == before


def test_aims_are_no_metrics() -> None:
    assert not AIMS.keys() & METRICS.keys()

"""What a study may try, and what of it comes first."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from autotune.config import StudyFile
from autotune.errors import InputError, Interrupted
from autotune.launch.live import LiveDisplay
from autotune.messages import TrialResult, TrialSpec
from autotune.search.plan import Plan, make_plan
from laboratory import Lab

TWO_VALUES: dict[str, Any] = {"plugins": {"batch": {"size": [1, 2]}}}
BESIDE = [{"batch": {"size": 4}}, {"batch": {"size": 8}}]


def planned(model: Path, folder: Path, **keys: Any) -> Plan:
    study = {"model": str(model), "device": "cpu", "plugins": {"batch": {"size": [1, 4]}}, **keys}
    return make_plan(StudyFile.model_validate(study), folder, lambda *_: None)


def test_first_recipes_need_not_be_among_the_values(tiny_model: Path, tmp_path: Path) -> None:
    tried = [{"batch": {"size": 4}}, {"batch": {"size": 8}}]
    plan = planned(tiny_model, tmp_path, try_first=tried)
    assert [recipe.to_dict() for recipe in plan.try_first] == tried
    assert [str(r) for r in plan.pool.recipes] == ["baseline", "batch size=4", "batch size=8"]
    assert plan.pool.beside == plan.try_first[1:]


def test_the_note_of_a_pool_counts_what_is_searched(tiny_model: Path, tmp_path: Path) -> None:
    conflicting = {"batch": {"size": [1, 4]}, "early_exit": {}, "compile": {}}

    def notes(*first: dict[str, Any]) -> list[str]:
        plan = planned(tiny_model, tmp_path, plugins=conflicting, try_first=first)
        return [note for note in plan.notes if "the search chooses among" in note]

    assert len(notes()) == 1
    assert notes({"batch": {"size": 16}}) == notes()


def test_one_that_cannot_work_here_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    plugins = {"batch": {"size": [4]}, "attention": {"kernel": ["eager"]}}
    refused = {"attention": {"kernel": "flash_attention_2"}, "batch": {"size": 4}}
    words = r"^try_first: attention .* · batch size=4 cannot work here: attention: .* needs CUDA"
    with pytest.raises(InputError, match=words):
        planned(tiny_model, tmp_path, plugins=plugins, try_first=[refused])


def test_one_whose_weights_do_not_fit_is_told_so(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autotune.search.study_pool.weights_file_bytes", lambda _: 2**60)
    with pytest.raises(
        InputError, match="its weights alone would not fit into the device's memory"
    ):
        planned(tiny_model, tmp_path, try_first=[{"batch": {"size": 8}}])


def test_a_single_recipe_of_the_users_is_something_to_search(
    tiny_model: Path, tmp_path: Path
) -> None:
    alone = {"plugins": {"batch": {"size": [1]}}}
    with pytest.raises(InputError, match="nothing to search"):
        planned(tiny_model, tmp_path, **alone)
    plan = planned(tiny_model, tmp_path, **alone, try_first=[{"batch": {"size": 8}}])
    assert [str(recipe) for recipe in plan.pool.recipes] == ["baseline", "batch size=8"]


def test_a_study_goes_on_with_more_to_try_first(lab: Lab) -> None:
    lab.search(lab.plan("batch", "compile", budget={"trials": 3}))
    asked = {
        "budget": {"trials": 5},
        "try_first": [{"batch": {"size": 8}}, {"batch": {"size": 2}}],
    }
    tried = {t.recipe_key for t in lab.trials()}
    plan = lab.plan("batch", "compile", **asked)
    lab.search(plan, resume=True)
    wanted = [recipe.key for recipe in plan.try_first if recipe.key not in tried]
    assert [t.recipe_key for t in lab.trials()][3:][: len(wanted)] == wanted


@pytest.fixture
def begun(lab: Lab) -> Lab:
    """A study of two values that died while it measured a recipe beside them."""

    def die(spec: TrialSpec) -> TrialResult:
        if spec.number == 2:
            raise KeyboardInterrupt
        result: TrialResult = lab.measure(spec)
        return result

    plan = lab.plan("batch", **TWO_VALUES, try_first=BESIDE)
    with pytest.raises(Interrupted):
        lab.search(plan, run=die)
    return lab


def test_a_recipe_beside_the_values_is_measured_again_after_a_death(begun: Lab) -> None:
    begun.search(begun.plan("batch", **TWO_VALUES, try_first=BESIDE), resume=True)
    assert [t.recipe for t in begun.trials()] == [{}, *BESIDE, {"batch": {"size": 2}}]
    assert begun.agreed()


def test_only_what_was_not_tried_is_announced(lab: Lab) -> None:
    def announced(trials: int, resume: bool) -> str:
        written = io.StringIO()
        plan = lab.plan("batch", **TWO_VALUES, try_first=BESIDE, budget={"trials": trials})
        with LiveDisplay(Console(file=written, width=140)) as display:
            lab.search(plan, resume=resume, observer=display)
        return written.getvalue()

    begun = announced(2, resume=False)
    assert begun.count("right after the baseline: batch size=") == 2
    again = announced(3, resume=True)
    assert "right after the baseline: batch size=8" in again
    assert "right after the baseline: batch size=4" not in again


def test_recipes_that_are_no_longer_named_stay_in_the_study(begun: Lab) -> None:
    begun.search(begun.plan("batch", **TWO_VALUES), resume=True)
    assert [t.recipe for t in begun.trials()] == [{}, *BESIDE, {"batch": {"size": 2}}]
    assert all(t.result for t in begun.trials())
    assert begun.agreed()


def test_values_beside_the_searched_ones_do_not_make_another_study(
    tiny_model: Path, tmp_path: Path
) -> None:
    without = planned(tiny_model, tmp_path).definition()
    asked = planned(tiny_model, tmp_path, try_first=[{"batch": {"size": 8}}]).definition()
    assert {key for key in asked if asked[key] != without[key]} == {"try_first"}

"""What a study may try, and what of it comes first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.config import StudyFile
from autotune.errors import InputError
from autotune.recipe import Recipe
from autotune.search.plan import Plan, make_plan
from autotune.search.study_pool import first_recipes
from laboratory import EVERY, Lab

INT4 = {"quantize": {"scheme": "int4"}}


def first_of(*given: dict[str, Any]) -> tuple[Recipe, ...]:
    return first_recipes(StudyFile.model_validate({"model": "m", "try_first": given}), EVERY)


def test_first_recipes_are_completed_and_come_once_without_the_baseline() -> None:
    found = first_of(
        INT4, {}, {"batch": {"size": 4}}, {"quantize": {"group": 32} | INT4["quantize"]}
    )
    assert [str(recipe) for recipe in found] == ["quantize int4 group=32", "batch size=4"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"bach": {"size": 4}},
            "recipe 2: no plugin of this study named 'bach'; did you mean 'batch'?",
        ),
        ({"batch": {"size": 9}}, "recipe 2: no value of batch.size 9; allowed: "),
        ({"quantize": {"group": 64}}, "recipe 2: quantize.group=64 has no effect"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=r"^try_first, ") as refused:
        first_of(INT4, given)
    assert words in str(refused.value)


def planned(model: Path, folder: Path, **keys: Any) -> Plan:
    study = {"model": str(model), "device": "cpu", "plugins": {"batch": {"size": [1, 4]}}, **keys}
    return make_plan(StudyFile.model_validate(study), folder, lambda *_: None)


def test_first_recipes_need_not_be_among_the_values(tiny_model: Path, tmp_path: Path) -> None:
    tried = [{"batch": {"size": 4}}, {"batch": {"size": 8}}]
    plan = planned(tiny_model, tmp_path, try_first=tried)
    assert [recipe.to_dict() for recipe in plan.try_first] == tried
    assert [str(r) for r in plan.pool.recipes] == ["baseline", "batch size=4", "batch size=8"]
    assert plan.pool.beside == plan.try_first[1:]


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


def test_values_beside_the_searched_ones_do_not_make_another_study(
    tiny_model: Path, tmp_path: Path
) -> None:
    without = planned(tiny_model, tmp_path).definition()
    asked = planned(tiny_model, tmp_path, try_first=[{"batch": {"size": 8}}]).definition()
    assert {key for key in asked if asked[key] != without[key]} == {"try_first"}

"""What a study names is checked before anything takes time."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.config import StudyFile
from autotune.errors import InputError
from autotune.recipe import Recipe
from autotune.study_plugins import checked_plugins, first_recipes
from laboratory import EVERY

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


def test_plugins_values_and_recipes_of_a_study_are_those_of_the_installed_ones() -> None:
    def check(**keys: Any) -> list[str]:
        return list(checked_plugins(StudyFile.model_validate({"model": "m", **keys})).plugins)

    assert check(plugins={"batch": {"size": [4]}}) == ["batch"]
    for keys, words in (
        ({"plugins": ["bach"]}, "did you mean 'batch'?"),
        ({"plugins": {"batch": {"size": [0]}}}, "no value of batch.size 0"),
        ({"plugins": ["batch"], "try_first": [{"batch": {"size": 0}}]}, "try_first, recipe 1"),
    ):
        with pytest.raises(InputError) as refused:
            check(**keys)
        assert words in str(refused.value)

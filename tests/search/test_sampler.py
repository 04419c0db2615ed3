"""Which recipe comes next."""

from __future__ import annotations

from collections.abc import Callable

import optuna
import pytest

from autotune.recipe import Recipe
from autotune.search.pool_code import PoolCode
from autotune.search.sampler import PoolSampler, make_inner

CodeOf = Callable[..., PoolCode]
NAMES = ("tpe", "random")


class Asked:
    """A sampler inside a study in memory."""

    def __init__(self, code: PoolCode, name: str = "tpe", seed: int = 0) -> None:
        self.code = code
        self.sampler = PoolSampler(code, make_inner(name, seed), seed)
        self._study = optuna.create_study(
            sampler=self.sampler, directions=["maximize", "minimize"]
        )

    def next(self, tell: bool = True) -> Recipe:
        trial = self._study.ask(self.code.distributions)
        recipe = self.code.recipe(trial.params)
        if tell:
            size = float(recipe.to_dict().get("batch", {}).get("size", 1))
            self._study.tell(trial, [size, float(len(recipe.choices))])
        return recipe

    def draw(self, count: int) -> list[Recipe]:
        return [self.next() for _ in range(count)]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.mark.parametrize("name", NAMES)
def test_baseline_comes_first(code_of: CodeOf, name: str) -> None:
    assert Asked(code_of(), name).next().is_baseline


@pytest.mark.parametrize("name", NAMES)
def test_no_recipe_comes_twice_until_the_pool_is_exhausted(code_of: CodeOf, name: str) -> None:
    code = code_of("quantize", "compile", "batch")
    asked = Asked(code, name)
    drawn = asked.draw(len(code.recipes))
    assert set(drawn) == set(code.recipes)
    assert asked.sampler.left == 0


@pytest.mark.parametrize("name", NAMES)
def test_running_trials_are_not_asked_for_again(code_of: CodeOf, name: str) -> None:
    code = code_of("quantize", "batch")
    asked = Asked(code, name)
    drawn = [asked.next(tell=i % 3 == 0) for i in range(len(code.recipes))]
    assert len(set(drawn)) == len(code.recipes)


@pytest.mark.parametrize("seed", range(5))
def test_each_plugin_is_tried_alone_early(code_of: CodeOf, seed: int) -> None:
    first = Asked(code_of(), seed=seed).draw(5)
    assert [len(r.choices) for r in first] == [0, 1, 1, 1, 1]
    assert {r.choices[0][0] for r in first[1:]} == {"quantize", "prune", "compile", "batch"}


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_order(code_of: CodeOf, name: str) -> None:
    assert Asked(code_of(), name, 3).draw(25) == Asked(code_of(), name, 3).draw(25)


def test_other_seed_other_order(code_of: CodeOf) -> None:
    assert Asked(code_of(), seed=1).draw(12) != Asked(code_of(), seed=2).draw(12)


def test_siblings_of_the_prepared_recipe_are_preferred(code_of: CodeOf) -> None:
    asked = Asked(code_of())
    asked.draw(5)
    prepared = Recipe.from_dict({"compile": {"on": True}, "prune": {"ratio": 0.4}})
    asked.sampler.warm = prepared
    for _ in range(4):
        found = asked.next().to_dict()
        found.pop("batch", None)
        assert Recipe.from_dict(found) == prepared
    assert asked.sampler.left == len(asked.code.recipes) - 9
    found = asked.next().to_dict()
    found.pop("batch", None)
    assert Recipe.from_dict(found) != prepared


def test_taken_recipes_do_not_come(code_of: CodeOf) -> None:
    code = code_of("quantize", "compile", "batch")
    asked = Asked(code, seed=4)
    taken = [code.recipes[i] for i in (0, 3, 7, 11)]
    asked.sampler.take([*taken, Recipe.from_dict({"batch": {"size": 3}})])
    assert asked.sampler.left == len(code.recipes) - 4
    drawn = asked.draw(asked.sampler.left)
    assert set(drawn) == set(code.recipes) - set(taken)


def test_resume_goes_on_with_plugins_not_tried_alone(code_of: CodeOf) -> None:
    asked = Asked(code_of())
    asked.sampler.take([Recipe(), Recipe.from_dict({"batch": {"size": 4}})])
    first = asked.draw(3)
    assert {r.choices[0][0] for r in first} == {"quantize", "prune", "compile"}


def test_model_goes_where_the_values_are_good(code_of: CodeOf) -> None:
    """After the spread, more large batches than chance (a quarter) would give."""
    drawn = Asked(code_of(), "tpe", 5).draw(40)[12:]
    large = sum(r.to_dict().get("batch", {}).get("size") == 8 for r in drawn)
    assert large > len(drawn) / 4


def test_unknown_dimension_is_refused(code_of: CodeOf) -> None:
    asked = Asked(code_of())
    study = optuna.create_study(sampler=asked.sampler)
    trial = study.ask(asked.code.distributions)
    with pytest.raises(KeyError, match="surplus is not a dimension"):
        trial.suggest_float("surplus", 0, 1)

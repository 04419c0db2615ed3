"""Recipes as numbers and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from autotune.params import Params
from autotune.recipe import Recipe
from autotune.search.pool_code import PoolCode

CodeOf = Callable[..., PoolCode]


def recipe(**on: Params) -> Recipe:
    return Recipe.from_dict(on)


def test_every_recipe_survives_flat_params(code_of: CodeOf) -> None:
    code = code_of()
    assert len(code.recipes) == 4 * 3 * 2 * 4
    for i, found in enumerate(code.recipes):
        assert code.recipe(code.flat(found)) == found
        assert code.index(found) == i


def test_flat_params_are_accepted_by_their_distributions(code_of: CodeOf) -> None:
    code = code_of()
    for each in code.recipes:
        for name, value in code.flat(each).items():
            distribution = code.distributions[name]
            internal = distribution.to_internal_repr(value)
            assert distribution._contains(internal)
            assert distribution.to_external_repr(internal) == value


def test_distributions_follow_the_kind(code_of: CodeOf) -> None:
    assert code_of().distributions == {
        "quantize.scheme": CategoricalDistribution(("int4", "int8", "none")),
        "quantize.group": CategoricalDistribution((32, 64)),
        "prune.ratio": FloatDistribution(0.0, 0.4),
        "compile.on": CategoricalDistribution((False, True)),
        "batch.size": IntDistribution(1, 8, log=True),
    }


def test_param_that_does_not_vary_is_no_dimension(code_of: CodeOf) -> None:
    whole = code_of("quantize", "batch")
    without_int4 = [r for r in whole.recipes if "int4" not in str(r)]
    code = PoolCode(without_int4, whole.plugins)
    assert set(code.names) == {"quantize.scheme", "batch.size"}
    assert [code.recipe(code.flat(each)) for each in without_int4] == without_int4


def test_recipe_of_inactive_params_ignores_them(code_of: CodeOf) -> None:
    code = code_of()
    flat = code.flat(Recipe()) | {"quantize.scheme": "int8", "quantize.group": 64}
    assert code.recipe(flat) == recipe(quantize={"scheme": "int8"})


def test_recipe_off_the_grid_is_no_recipe_of_the_pool(code_of: CodeOf) -> None:
    code = code_of()
    found = code.recipe(code.flat(code.recipes[0]) | {"batch.size": 3})
    assert found == recipe(batch={"size": 3})
    assert code.index(found) is None
    assert not code.siblings(found).any()


@pytest.mark.parametrize(
    "prepared",
    [
        {},
        {"compile": {"on": True}},
        {"quantize": {"scheme": "int4", "group": 64}, "prune": {"ratio": 0.2}},
    ],
)
def test_siblings_share_all_but_the_run(code_of: CodeOf, prepared: dict[str, Params]) -> None:
    code = code_of()
    expected = {
        recipe(**prepared, **({"batch": {"size": n}} if n > 1 else {})) for n in (1, 2, 4, 8)
    }
    for found in expected:
        mask = code.siblings(found)
        assert {code.recipes[i] for i in np.flatnonzero(mask)} == expected


def test_distance_is_zero_only_to_itself(code_of: CodeOf) -> None:
    code = code_of("quantize", "batch")
    for i in range(len(code.recipes)):
        distances = code.distances(code.flat(code.recipes[i]))
        assert distances[i] == 0
        assert (np.delete(distances, i) > 0).all()


def test_near_numbers_are_near_and_categories_are_all_one_apart(code_of: CodeOf) -> None:
    code = code_of()
    flat = code.flat(code.recipes[0])

    def distance(**on: Params) -> float:
        index = code.index(recipe(**on))
        assert index is not None
        return float(code.distances(flat)[index])

    sizes = [distance(batch={"size": n}) for n in (2, 4, 8)]
    assert sizes == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert distance(prune={"ratio": 0.2}) == pytest.approx(0.5)
    assert distance(quantize={"scheme": "int8"}) == 1.0
    assert distance(quantize={"scheme": "int4", "group": 32}) == 1.0
    assert distance(quantize={"scheme": "int8"}, compile={"on": True}) == 2.0


def test_distances_of_a_wish_between_the_grid_points(code_of: CodeOf) -> None:
    code = code_of("batch")
    nearest = int(np.argmin(code.distances({"batch.size": 7})))
    assert code.recipes[nearest] == recipe(batch={"size": 8})


def test_hundred_thousand_recipes_are_coded_in_moments(code_of: CodeOf) -> None:
    whole = code_of()
    many = list(whole.recipes) * 100
    assert len(PoolCode(many, whole.plugins).distances(whole.flat(whole.recipes[3]))) == len(many)

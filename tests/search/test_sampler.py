"""Which recipe comes next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import optuna
import pytest

from autotune.errors import InputError
from autotune.metrics import Direction
from autotune.recipe import Recipe
from autotune.search.observation import Observation
from autotune.search.optuna_chooser import SHORT_NAMES, optuna_names
from autotune.search.pool_code import Mask, PoolCode
from autotune.search.quantity import quantities_of
from autotune.search.sampler import OWN_SAMPLERS, PoolSampler, check_sampler, make_chooser
from autotune.search.surrogate_chooser import SurrogateChooser

CodeOf = Callable[..., PoolCode]
NAMES = ("autotune", "random", "grid", "tpe", "nsga2")
OBJECTIVES = ("output_tokens_per_second", "weights_bytes")


class Asked:
    """A sampler, and numbers by formula for what it asks."""

    def __init__(
        self, code: PoolCode, name: str = "autotune", seed: int = 0, first: Sequence[Recipe] = ()
    ) -> None:
        self.code = code
        quantities = quantities_of(OBJECTIVES)
        chooser = make_chooser(name, code, quantities, {}, seed, named=len(first))
        self.sampler = PoolSampler(code, chooser, first)

    def next(self, tell: bool = True) -> Recipe:
        recipe = self.sampler.next_recipe()
        if tell:
            self.tell(recipe)
        return recipe

    def tell(self, recipe: Recipe) -> None:
        size = float(recipe.to_dict().get("batch", {}).get("size", 1))
        values = {OBJECTIVES[0]: (size, 0.0), OBJECTIVES[1]: (1.0 + len(recipe.choices), 0.0)}
        self.sampler.observe(recipe, Observation(values=values))

    def draw(self, count: int) -> list[Recipe]:
        return [self.next() for _ in range(count)]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.mark.parametrize("name", NAMES)
def test_baseline_comes_first(code_of: CodeOf, name: str) -> None:
    assert Asked(code_of(), name).next().is_baseline


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_named_comes_next(code_of: CodeOf, name: str) -> None:
    code = code_of("quantize", "compile", "batch")
    first = [code.recipes[i] for i in (7, 2, 5)]
    assert Asked(code, name, first=first).draw(4)[1:] == first
    asked = Asked(code, name, first=first)
    asked.sampler.take([code.recipes[0], first[1]])  # of an earlier run
    assert asked.draw(2) == [first[0], first[2]]
    rest = asked.draw(asked.sampler.left)
    assert set(rest).isdisjoint(first)


@pytest.mark.parametrize(("named", "spread"), [(0, 5), (1, 4), (2, 3), (7, 3)])
def test_the_pool_is_spread_over_whatever_the_user_named(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch, named: int, spread: int
) -> None:
    spread_first, found = SurrogateChooser._spread_first, []

    def note(self: SurrogateChooser, allowed: Mask) -> int:
        found.append(spread_first(self, allowed))
        return found[-1]

    monkeypatch.setattr(SurrogateChooser, "_spread_first", note)
    code = code_of()
    first = [r for r in code.recipes if {n for n, _ in r.choices} <= {"batch", "compile"}][1:]
    assert len(first) == 7
    Asked(code, first=first[:named]).draw(1 + named + spread + 3)
    assert len(found) == spread


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


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_order(code_of: CodeOf, name: str) -> None:
    assert Asked(code_of(), name, 3).draw(25) == Asked(code_of(), name, 3).draw(25)


@pytest.mark.parametrize("name", ["random", "tpe"])
def test_other_seed_other_order(code_of: CodeOf, name: str) -> None:
    assert Asked(code_of(), name, 1).draw(12) != Asked(code_of(), name, 2).draw(12)


def test_grid_follows_the_pool(code_of: CodeOf) -> None:
    code = code_of()
    assert Asked(code, "grid").draw(12) == list(code.recipes[:12])


@pytest.mark.parametrize("name", NAMES)
def test_taken_recipes_do_not_come(code_of: CodeOf, name: str) -> None:
    code = code_of("quantize", "compile", "batch")
    asked = Asked(code, name, seed=4)
    taken = [code.recipes[i] for i in (0, 3, 7, 11)]
    asked.sampler.take([*taken, Recipe.from_dict({"batch": {"size": 3}})])
    assert asked.sampler.left == len(code.recipes) - 4
    drawn = asked.draw(asked.sampler.left)
    assert set(drawn) == set(code.recipes) - set(taken)


@pytest.mark.parametrize("name", NAMES)
def test_what_an_earlier_run_measured_is_known(code_of: CodeOf, name: str) -> None:
    code = code_of()
    asked = Asked(code, name)
    for index in (0, 5, 9, 17, 30, 31, 44):
        asked.tell(code.recipes[index])
    asked.tell(Recipe.from_dict({"batch": {"size": 3}}))  # no longer in the pool
    assert asked.sampler.left == len(code.recipes) - 7
    assert not {code.recipes[i] for i in (0, 5, 9)} & set(asked.draw(20))


@pytest.mark.parametrize("name", ["autotune", "tpe"])
def test_model_goes_where_the_values_are_good(code_of: CodeOf, name: str) -> None:
    """After the spread, more large batches than chance (a quarter) would give."""
    drawn = Asked(code_of(), name, 5).draw(40)[12:]
    large = sum(r.to_dict().get("batch", {}).get("size") == 8 for r in drawn)
    assert large > len(drawn) / 4


def test_optunas_samplers_try_each_plugin_alone_early(code_of: CodeOf) -> None:
    first = Asked(code_of(), "tpe").draw(5)
    assert [len(r.choices) for r in first] == [0, 1, 1, 1, 1]
    assert {r.choices[0][0] for r in first[1:]} == {"quantize", "prune", "compile", "batch"}


def test_optunas_samplers_measure_one_sibling_of_what_was_prepared(code_of: CodeOf) -> None:
    asked = Asked(code_of(), "tpe")
    asked.draw(5)
    prepared = Recipe.from_dict({"compile": {"on": True}, "prune": {"ratio": 0.4}})
    asked.sampler.warm = prepared
    found = asked.next().to_dict()
    found.pop("batch", None)
    assert Recipe.from_dict(found) == prepared


@pytest.mark.parametrize("name", [*OWN_SAMPLERS, *SHORT_NAMES, "TPESampler", "RandomSampler"])
def test_every_name_chooses(code_of: CodeOf, name: str) -> None:
    check_sampler(name)
    drawn = Asked(code_of(), name).draw(14)
    assert len(set(drawn)) == 14


@pytest.mark.parametrize(
    "name", ["magic", "CmaEsSampler", "BruteForceSampler", "GridSampler", "BaseSampler", "Study"]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"no sampler named '{name}'") as refused:
        check_sampler(name)
    assert "autotune" in str(refused.value)
    assert "PartialFixedSampler" not in str(refused.value)


def test_all_of_optunas_names_can_be_made() -> None:
    assert {"TPESampler", "NSGAIISampler", "GPSampler"} <= set(optuna_names())


def test_failures_are_told_with_the_worst_values(code_of: CodeOf) -> None:
    code = code_of()
    asked = Asked(code, "tpe")
    asked.draw(3)
    failed = asked.next(tell=False)
    asked.sampler.observe(failed, Observation(failed=True, feasible=False))
    told = asked.sampler._chooser._study.get_trials()  # type: ignore[attr-defined]
    assert told[-1].values == [min(t.values[0] for t in told), max(t.values[1] for t in told)]
    assert [max(t.constraints.values()) > 0 for t in told] == [False, False, False, True]


def test_quantities_know_their_direction() -> None:
    speed, weights = quantities_of(OBJECTIVES)
    assert (speed.direction, weights.direction) == (Direction.MAXIMIZE, Direction.MINIMIZE)


@pytest.mark.parametrize("name", ["nsga2", "nsga3"])
def test_wishes_that_leave_params_out_are_met(code_of: CodeOf, name: str) -> None:
    """Mutation leaves a param out, once there is a second generation."""
    asked = Asked(code_of(), name)
    assert len(set(asked.draw(70))) == 70

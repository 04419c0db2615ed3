"""Where the front is expected to gain most for the time it takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune.constraints import parse_all
from autotune.recipe import Recipe
from autotune.search import surrogate_chooser
from autotune.search.features import make_features
from autotune.search.observation import Observation, Observations
from autotune.search.pool_code import Integers, PoolCode
from autotune.search.quantity import quantities_of
from autotune.search.surrogate_chooser import SurrogateChooser

CodeOf = Callable[..., PoolCode]
OBJECTIVES = ("output_tokens_per_second", "weights_bytes", "kld_mean_nats")
BITS = {"none": 32.0, "int8": 8.0, "int4": 4.0}
KLD = {"none": 0.0, "int8": 0.01, "int4": 0.2}


def values(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """Every choice costs something and gains something."""
    on = recipe.to_dict()
    ratio = float(on.get("prune", {}).get("ratio", 0.0))
    scheme = str(on.get("quantize", {}).get("scheme", "none"))
    speed = 100 * float(on.get("batch", {}).get("size", 1)) ** 0.5 / (1 - ratio)
    speed *= 1.5 if "compile" in on else 1.0
    found = {
        "output_tokens_per_second": speed,
        "weights_bytes": 1e6 * BITS[scheme] / 32 * (1 - ratio),
        "kld_mean_nats": KLD[scheme] + ratio**2,
    }
    return {name: (value, 0.01 * value) for name, value in found.items()}


class Study:
    """A chooser, and what comes of what it chooses."""

    def __init__(
        self, code: PoolCode, constraints: tuple[str, ...] = (), seed: int = 0, named: int = 0
    ) -> None:
        self.code = code
        self.limits = parse_all(constraints)
        self.free = np.ones(len(code.recipes), dtype=bool)
        quantities = quantities_of(OBJECTIVES, self.limits)
        features = make_features(code, {})
        self.chooser = SurrogateChooser(code, features, quantities, seed, named=named)
        self.chosen: list[Recipe] = []

    def choose(self, warm: Recipe | None = None) -> int:
        place = None if warm is None else self.code.index(warm)
        index = 0 if self.free[0] else self.chooser.choose(self.free, place)
        assert self.free[index]
        self.free[index] = False
        self.chooser.begin(index)
        self.chosen.append(self.code.recipes[index])
        return index

    def end(self, index: int, **also: object) -> None:
        found = values(self.code.recipes[index])
        feasible = all(
            found[limit.metric][0] <= limit.bound if limit.is_upper else True
            for limit in self.limits
        )
        seen: dict[str, Any] = {"values": found, "feasible": feasible, **also}
        observation = Observation(**seen)
        self.chooser.observe(np.array([index]), Observations.one(observation))

    def run(self, trials: int) -> list[Recipe]:
        for _ in range(trials):
            self.end(self.choose())
        return self.chosen


def front(recipes: list[Recipe]) -> set[Recipe]:
    """The recipes that no other is as good as in all and better in one."""
    signs = np.array([-1.0, 1.0, 1.0])
    losses = np.array([[values(r)[name][0] for name in OBJECTIVES] for r in recipes]) * signs
    kept = [not ((losses <= row).all(axis=1) & (losses < row).any(axis=1)).any() for row in losses]
    return {recipe for recipe, keep in zip(recipes, kept, strict=True) if keep}


def test_most_of_the_front_is_found_in_a_third_of_the_pool(code_of: CodeOf) -> None:
    code = code_of()
    whole = front(list(code.recipes))
    found = set(Study(code).run(len(code.recipes) // 3)) & whole
    assert len(found) > 0.8 * len(whole)


def test_recipes_outside_a_constraint_are_left(code_of: CodeOf) -> None:
    drawn = Study(code_of(), ("kld_mean_nats<=0.06",)).run(30)[12:]
    outside = [r for r in drawn if values(r)["kld_mean_nats"][0] > 0.06]
    assert len(outside) < 4


def test_what_fails_is_left(code_of: CodeOf) -> None:
    study = Study(code_of())
    failed = 0
    for number in range(30):
        index = study.choose()
        fails = "compile" in study.code.recipes[index].to_dict()
        failed += fails and number >= 12
        study.end(index, failed=fails, feasible=not fails, **({"values": {}} if fails else {}))
    assert failed <= 1


def test_all_that_is_left_is_chosen_though_it_fails(code_of: CodeOf) -> None:
    study = Study(code_of("quantize", "batch"))
    for _ in study.code.recipes:
        index = study.choose()
        study.end(
            index, failed=index > 0, feasible=index == 0, **({"values": {}} if index else {})
        )
    assert not study.free.any()


def test_pending_recipes_are_not_asked_in_another_form(code_of: CodeOf) -> None:
    """Four at once are as different as four one after the other."""
    study = Study(code_of())
    study.run(8)
    together = {study.code.recipes[study.choose()].choices for _ in range(4)}
    assert len({len(c) for c in together} | together) > 4
    assert len(together) == 4


def test_the_dearer_preparing_is_the_more_siblings_are_measured(code_of: CodeOf) -> None:
    prepared = []
    for prepare in (0.001, 60.0):
        study = Study(code_of())
        for _ in range(30):
            index = study.choose(study.chosen[-1] if study.chosen else None)
            study.end(index, phase_seconds={"prepare": prepare, "score": 0.1, "measure": 1.0})
        setups = study.code.setups[[study.code.index(recipe) for recipe in study.chosen]]
        prepared.append(np.count_nonzero(np.diff(setups)))
    assert prepared[1] < 0.8 * prepared[0]


def test_preparing_is_modelled(code_of: CodeOf) -> None:
    """Compiling takes 100 times as long: what is not compiled comes first."""
    study = Study(code_of())
    for _ in range(24):
        index = study.choose()
        slow = "compile" in study.code.recipes[index].to_dict()
        study.end(index, phase_seconds={"prepare": 100.0 if slow else 1.0, "measure": 0.1})
    compiled = ["compile" in recipe.to_dict() for recipe in study.chosen]
    assert sum(compiled[8:]) < len(compiled[8:]) / 3


def test_a_trial_without_some_metric_teaches_the_others(code_of: CodeOf) -> None:
    study = Study(code_of(), ("kld_mean_nats<=0.06",))
    for _ in range(20):
        index = study.choose()
        known = values(study.code.recipes[index])
        if known["kld_mean_nats"][0] > 0.06:  # ended before its speed was measured
            del known["output_tokens_per_second"]
        study.end(index, values=known)
    outside = [values(r)["kld_mean_nats"][0] > 0.06 for r in study.chosen]
    assert sum(outside[12:]) < 3


@pytest.mark.parametrize("count", [2, 5])
def test_before_there_is_a_front_recipes_are_spread(code_of: CodeOf, count: int) -> None:
    drawn = Study(code_of()).run(count)
    rows = make_features(code_of(), {}).matrix
    places = [code_of().index(r) for r in drawn]
    distances = np.abs(rows[places][:, None] - rows[places][None]).sum(axis=2)
    assert distances[np.triu_indices(count, 1)].min() > np.median(rows.sum(axis=1)) / 3


def test_what_has_no_value_of_an_objective_is_left(code_of: CodeOf) -> None:
    """An engine without outputs has no accuracy: it can be no point of the front."""
    study = Study(code_of())
    unknown = 0
    for number in range(30):
        index = study.choose()
        found = values(study.code.recipes[index])
        if "compile" in study.code.recipes[index].to_dict():
            del found["kld_mean_nats"]
            unknown += number >= 12
        study.end(index, values=found)
    assert unknown <= 2


def test_a_lost_trial_teaches_nothing_of_its_recipe(code_of: CodeOf) -> None:
    drawn = []
    for lost in (False, True):
        study = Study(code_of(), seed=2)
        for number in range(20):
            index = study.choose()
            gone = {"failed": True, "lost": True, "feasible": False, "values": {}}
            study.end(index, **(gone if lost and number == 3 else {}))
        drawn.append(sum("compile" in r.to_dict() for r in study.chosen[8:]))
    assert drawn[1] > 0


def test_rare_failures_do_not_hide_the_pool(code_of: CodeOf) -> None:
    study = Study(code_of())
    whole = front(list(study.code.recipes))
    for number in range(len(study.code.recipes) // 3):
        index = study.choose()
        fails = number in (4, 9)
        study.end(index, failed=fails, feasible=not fails, **({"values": {}} if fails else {}))
    found = set(study.chosen) & whole
    assert len(found) > 0.6 * len(whole)


def test_before_anything_keeps_the_limits_that_is_looked_for(code_of: CodeOf) -> None:
    """Few recipes are so small and so exact: 5 of 72."""
    limits = ("weights_bytes<=300000", "kld_mean_nats<=0.03")
    study = Study(code_of(), limits)
    drawn = study.run(16)
    kept = [
        r
        for r in drawn
        if values(r)["weights_bytes"][0] <= 3e5 and values(r)["kld_mean_nats"][0] <= 0.03
    ]
    assert len(kept) >= 3


def test_numbers_known_to_break_a_limit_are_not_measured_again(code_of: CodeOf) -> None:
    study = Study(code_of(), ("kld_mean_nats<=0.06",))
    study.run(30)
    broken = [
        int(study.code.outputs[study.code.index(r)])
        for r in study.chosen
        if values(r)["kld_mean_nats"][0] > 0.06
    ]
    assert len(broken) - len(set(broken)) <= 2


def test_where_preparing_takes_time_the_first_trials_have_few_plugins_on(code_of: CodeOf) -> None:
    study = Study(code_of())
    for _ in range(6):
        study.end(study.choose(), phase_seconds={"prepare": 5.0, "measure": 1.0})
    assert max(len(recipe.choices) for recipe in study.chosen) == 2


def exploring(monkeypatch: pytest.MonkeyPatch, study: Study) -> list[int]:
    """Fills with the numbers of the trials that go far from all others."""
    farthest, found = SurrogateChooser._farthest, []

    def note(self: SurrogateChooser, candidates: Integers) -> int:
        found.append(len(study.chosen))
        return farthest(self, candidates)

    monkeypatch.setattr(SurrogateChooser, "_farthest", note)
    return found


def test_without_a_new_point_on_the_front_every_second_trial_explores(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(code_of())
    found = exploring(monkeypatch, study)
    baseline = values(study.code.recipes[0])
    for _ in range(30):
        study.end(study.choose(), values=baseline)  # as good as the first: nothing new
    assert found == [1, 2, 3, 4, 5, *range(14, 30, 2)]


def test_with_a_new_point_on_the_front_the_models_are_trusted_again(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(code_of())
    found = exploring(monkeypatch, study)
    for number in range(36):
        better = 2.0 if number >= 20 else 1.0
        known = values(study.code.recipes[0])
        known["output_tokens_per_second"] = (100.0 * better, 1.0)
        study.end(study.choose(), values=known)
    assert found[5:] == [14, 16, 18, 20, 34]


def test_what_breaks_a_limit_neither_grows_the_front_nor_stalls(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(code_of())
    found = exploring(monkeypatch, study)
    known = values(study.code.recipes[0])
    for number in range(40):
        if number == 10:
            known["output_tokens_per_second"] = (200.0, 1.0)
        study.end(study.choose(), values=known, feasible=number < 10 or number > 36)
    assert found[5:] == []  # the three last ones are new
    for _ in range(14):
        study.end(study.choose(), values=known)
    assert found[5:] == [50, 52]


def test_noise_is_nothing_new(code_of: CodeOf, monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study(code_of())
    found = exploring(monkeypatch, study)
    noise = np.random.default_rng(0)
    for _ in range(30):
        known = {
            name: (value * float(noise.normal(1, 0.01)), 0.01 * value)
            for name, (value, _) in values(study.code.recipes[0]).items()
        }
        study.end(study.choose(), values=known)
    assert len(found[5:]) > 4


def test_what_the_user_named_is_no_stalled_search(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(code_of(), named=14)
    found = exploring(monkeypatch, study)
    baseline = values(study.code.recipes[0])
    for index in range(1, 15):
        study.free[index] = False
        study.chooser.begin(index)
        study.chosen.append(study.code.recipes[index])
        study.end(index, values=baseline)
    for _ in range(20):
        study.end(study.choose(), values=baseline)
    assert found == [15, 16, 17, 28, 30, 32]


@pytest.mark.parametrize("prepare", [0.001, 60.0])
def test_exploring_takes_the_place_of_every_second_preparation(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch, prepare: float
) -> None:
    study = Study(code_of())
    found = exploring(monkeypatch, study)
    baseline = values(study.code.recipes[0])
    seconds = {"prepare": prepare, "score": 0.1, "measure": 1.0}
    for _ in range(50):
        index = study.choose(study.chosen[-1] if study.chosen else None)
        study.end(index, values=baseline, phase_seconds=seconds)
    setups = study.code.setups[[study.code.index(recipe) for recipe in study.chosen]]
    anew = [n for n in range(max(6, found[5]), 50) if setups[n] != setups[n - 1]]
    explored = [n in found for n in anew]
    assert all(first != second for first, second in itertools.pairwise(explored))
    assert len(anew) > 10
    promising = [n for n in anew[:-1] if n not in found]
    used = [setups[n + 1] == setups[n] for n in promising]  # the process, once it is there
    assert used == [prepare > 1] * len(promising)


def half_way(code: PoolCode, constraints: tuple[str, ...]) -> Study:
    """A search of which half the pool is left."""
    study = Study(code, constraints)
    study.run(24)
    return study


def explored(study: Study) -> list[Recipe]:
    """Where it goes if it explores again and again."""
    found = []
    while study.free.any():
        found.append(study.chooser._explore(study.free, None))
        study.free[found[-1]] = False
    return [study.code.recipes[index] for index in found]


@pytest.mark.parametrize(
    ("limit", "least_chance"),
    [("weights_bytes<=600000", 0.1), ("kld_mean_nats<=0.06", 0.1), ("kld_mean_nats<=0.06", 1e-99)],
)
def test_exploring_leaves_what_breaks_a_limit_to_the_end(
    code_of: CodeOf, monkeypatch: pytest.MonkeyPatch, limit: str, least_chance: float
) -> None:
    monkeypatch.setattr(surrogate_chooser, "_LEAST_CHANCE", least_chance)
    study = half_way(code_of(), (limit,))
    metric, bound = limit.split("<=")
    outside = [values(r)[metric][0] > float(bound) for r in explored(study)]
    kept = outside.count(False)
    assert outside.count(True) > 5
    assert sum(outside[:kept]) <= 0.2 * kept


def test_exploring_leaves_what_fails_to_the_end(code_of: CodeOf) -> None:
    study = Study(code_of())
    for _ in range(30):
        index = study.choose()
        fails = "compile" in study.code.recipes[index].to_dict()
        study.end(index, failed=fails, feasible=not fails, **({"values": {}} if fails else {}))
    fails_at = ["compile" in r.to_dict() for r in explored(study)]
    kept = fails_at.count(False)
    assert fails_at.count(True) > 5
    assert sum(fails_at[:kept]) <= 0.2 * kept

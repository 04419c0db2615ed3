"""Which trials a search lets later ones race against."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import Interrupted
from autotune.front import front, front_points
from autotune.messages import Grade, Measurement, Rivals, TrialResult, TrialSpec
from autotune.recipe import Recipe
from autotune.search.rivals import MOST, RivalFront
from autotune.store.records import TrialRecord
from autotune.testing import fake_result, fake_spec

SPEED, WEIGHTS, KLD = OBJECTIVES = ("output_tokens_per_second", "weights_bytes", "kld_mean_nats")


def best(trials: list[TrialRecord], until: int) -> set[int]:
    """The front of the trials before one, as the front itself tells it."""
    points = front_points([t for t in trials if t.number < until and t.result])
    return {p.number for p in front(points, OBJECTIVES)}


def test_each_trial_races_against_the_front_before_it(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 14}, seed=2))
    trials = lab.trials()
    for spec in lab.specs:
        assert set(spec.rivals) == best(trials, spec.number)
    assert lab.specs[0].rivals == {}, "the baseline is measured whole"
    number, values = next(iter(lab.specs[-1].rivals.items()))
    own = trials[number].result.metrics
    assert values == {name: (own[name].value,) * 3 for name in OBJECTIVES}


def test_trials_side_by_side_race_against_what_is_finished(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 7}), slots=3)
    assert all(max(spec.rivals) < spec.number for spec in lab.specs[1:])
    assert all(set(spec.rivals) == {0} for spec in lab.specs[1:4])


def test_front_is_built_again_on_resume(lab: Any) -> None:
    plan = lab.plan(budget={"trials": 8}, seed=2)

    def run(spec: TrialSpec) -> TrialResult:
        if len(lab.specs) == 5:
            raise KeyboardInterrupt
        result: TrialResult = lab.measure(spec)
        return result

    with pytest.raises(Interrupted):
        lab.search(plan, run)
    lab.search(plan, resume=True)
    trials = lab.trials()
    assert [s.number for s in lab.specs] == list(range(8))
    for spec in lab.specs[5:]:
        assert set(spec.rivals) == best(trials, spec.number)


def test_racing_can_be_switched_off(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 5}, measure={"racing": False}))
    assert [spec.rivals for spec in lab.specs] == [{}] * 5


def test_repetitions_are_not_raced(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 4}, confirm={"processes": 1}))
    again = [spec for spec in lab.specs if spec.confirmation]
    assert again
    assert all(spec.rivals == {} for spec in again)


def test_rivals_travel_as_json(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 3}))
    spec = lab.specs[-1]
    assert spec.rivals
    assert TrialSpec.model_validate_json(spec.model_dump_json()) == spec


def record(number: int, *, change: dict[str, Any] | None = None, **values: float) -> TrialRecord:
    """A finished trial; 0 is the baseline."""
    recipe = Recipe.from_dict({"batch": {"size": number}} if number else {}).to_dict()
    numbers = {SPEED: 100.0, WEIGHTS: 1e6, KLD: 0.0} | values
    result = fake_result(fake_spec(number, recipe), **numbers).model_copy(update=change or {})
    return TrialRecord.model_construct(
        number=number, recipe=recipe, result=result, confirmations={}, output_key="x"
    )


def rivals_of(lab: Any, *trials: TrialRecord) -> Rivals:
    found = RivalFront(lab.plan())
    found.take(trials)
    return found.rivals()


@pytest.mark.parametrize(
    "change",
    [
        {"fallbacks": ("asked for x, ran y: z",)},
        {"outcome": "infeasible"},
        {"outcome": "crashed"},
        {"metrics": {name: Measurement(value=1e3, unit="", grade=Grade.C) for name in OBJECTIVES}},
        {"metrics": {SPEED: Measurement(value=1e3, unit="")}},
    ],
    ids=["fallback", "infeasible", "crashed", "grade C", "one objective missing"],
)
def test_doubtful_trial_is_nobodys_rival(lab: Any, change: dict[str, Any]) -> None:
    found = rivals_of(lab, record(0), record(1, change=change, output_tokens_per_second=1e3))
    assert set(found) == {0}


def test_baselines_own_fallbacks_are_the_machines(lab: Any) -> None:
    shared = {"fallbacks": ("asked for x, ran y: z",)}
    faster = record(1, change=shared, output_tokens_per_second=1e3)
    assert set(rivals_of(lab, record(0, change=shared), faster)) == {1}


def test_value_has_the_interval_in_which_it_is_compared(lab: Any) -> None:
    timed = {"value": 100.0, "unit": "", "ci_low": 90.0, "ci_high": 110.0, "ratio": 1.0}
    own = {SPEED: Measurement(**timed, stat="median")} | record(0).result.metrics  # type: ignore[union-attr,arg-type]
    own[SPEED] = Measurement(**timed, stat="median")  # type: ignore[arg-type]
    other = {**own, SPEED: own[SPEED].model_copy(update={"stat": "median_ratio"})}
    smaller = {**other, WEIGHTS: Measurement(value=5e5, unit="")}
    found = rivals_of(lab, record(0, change={"metrics": own}))
    assert found[0][SPEED] == (100.0, 100.0, 100.0), "its ratio is 1 by definition"
    found = rivals_of(
        lab, record(0, change={"metrics": own}), record(1, change={"metrics": smaller})
    )
    assert found[1][SPEED] == (100.0, 90.0, 110.0)


def test_many_are_thinned_evenly_along_the_first_objective(lab: Any) -> None:
    many = [
        record(n, output_tokens_per_second=100.0 + n, weights_bytes=1e6 * 1.1**n)
        for n in range(100)
    ]
    found = rivals_of(lab, *many)
    assert len(found) == MOST
    assert list(found) == sorted(found)
    gaps = {b - a for a, b in zip([*found], [*found][1:], strict=False)}
    assert {0, 99} <= set(found)
    assert gaps <= {4, 5}

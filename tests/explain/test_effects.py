"""Effects of choices: intervals cover the truth, and where little is known nothing is told."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest

import known_study as known
from autotune.explain import Explanation, explain
from autotune.explain.records import Choice, Effect, Estimate
from autotune.messages import Grade, RecipeDict
from autotune.store.records import TrialRecord

TRUE_SPEED = {
    "quantize.scheme=int8": 1.4,
    "quantize.scheme=int4": 1.2,
    "batch.size=2": 2**0.5,
    "batch.size=8": 8**0.5,
    "compile": 1.5,
    "allocator": 1.0,
}


def explained(trials: Sequence[TrialRecord]) -> Explanation:
    return explain(known.study(), trials)


def effect(found: Explanation, words: str, metric: str = known.SPEED) -> Effect:
    return next(e for e in found.effects if e.choice.words == words and e.metric == metric)


def estimate(found: Explanation, words: str, metric: str = known.SPEED) -> Estimate:
    told = effect(found, words, metric).estimate
    assert told is not None
    return told


def share(found: Explanation, name: str, metric: str = known.SPEED) -> float:
    named = {f"{s.plugin}.{s.param}".strip("."): s for s in found.shares if s.metric == metric}
    return named[name].share


@pytest.fixture(scope="module")
def forty() -> Explanation:
    return explained(known.random_study(40))


def test_intervals_cover_the_truth_nineteen_times_of_twenty() -> None:
    inside = []
    for seed in range(60):
        found = explained(known.random_study(40, seed, noise=0.1))
        for words, true in TRUE_SPEED.items():
            told = estimate(found, words)
            assert told.low is not None
            assert told.high is not None
            inside.append(told.low <= true <= told.high)
    # 360 intervals, those of one study not independent: 95 % give or take four errors of 1.2 %.
    assert 0.90 < sum(inside) / len(inside) < 0.99


@pytest.mark.parametrize(("words", "true"), TRUE_SPEED.items())
def test_effect_on_speed_is_a_narrow_ratio(forty: Explanation, words: str, true: float) -> None:
    told = estimate(forty, words)
    assert told.value == pytest.approx(true, rel=0.05)
    assert told.high is not None
    assert told.high < 1.1 * told.value


def test_effect_on_a_loss_is_a_difference(forty: Explanation) -> None:
    assert estimate(forty, "quantize.scheme=int8", known.KLD).value == pytest.approx(
        0.02, abs=1e-3
    )
    assert estimate(forty, "compile", known.KLD).value == pytest.approx(0, abs=1e-3)


def test_effect_of_a_plugin_is_the_average_over_the_values_that_were_tried() -> None:
    trials = known.random_study(40, noise=0.0)
    on = [t.recipe["quantize"]["scheme"] for t in trials if "quantize" in t.recipe]
    logs = [math.log(known.SCHEMES[str(scheme)][0]) for scheme in on]
    told = estimate(explained(trials), "quantize")
    assert told.value == pytest.approx(math.exp(sum(logs) / len(logs)))


def test_effect_is_that_of_the_choice_and_not_of_what_comes_with_it() -> None:
    """Where compile is nearly always tried with a large batch, its trials are fast."""
    together: RecipeDict = {"compile": {"on": True}, "batch": {"size": 8}}
    recipes: list[RecipeDict] = [{}, *([together] * 8), {"compile": {"on": True}}]
    recipes += [{"batch": {"size": 8}}, {"batch": {"size": 2}}, {}]
    found = explained([known.timed(n, r) for n, r in enumerate(recipes)])
    assert estimate(found, "compile").value == pytest.approx(known.COMPILED)


def test_choices_that_always_come_together_are_not_told_apart() -> None:
    both: RecipeDict = {"compile": {"on": True}, "allocator": {"library": "jemalloc"}}
    recipes: list[RecipeDict] = [{}, {"batch": {"size": 2}}, {"batch": {"size": 4}}]
    found = explained([known.timed(n, r) for n, r in enumerate([*recipes * 2, *[both] * 4])])
    told = effect(found, "compile")
    assert told.estimate is None
    assert "together" in told.reason


def test_too_few_trials_give_no_number() -> None:
    found = explained(known.random_study(6))
    assert all(e.estimate is None and e.reason for e in found.effects)
    assert "do not suffice to judge: allocator, batch, compile, quantize" in found.answer[0]


def test_choice_that_was_tried_once_gives_no_number(forty: Explanation) -> None:
    once = [*known.random_study(40), known.timed(40, {"threads": {"number": 1}})]
    assert effect(explained(once), "threads").reason == "trials with it: 1; at least 2 are needed"


def test_values_are_told_where_all_values_together_would_be_too_many() -> None:
    """Fourteen trials: the additive model of every value has no residual left to speak of."""
    found = explained(known.random_study(14, noise=0.0))
    assert estimate(found, "compile").value == pytest.approx(1.5, rel=0.3)


def test_disturbed_values_and_fallbacks_are_left_out() -> None:
    trials = known.random_study(40)
    wrong = known.timed(40, {"compile": {"on": True}}, slower=50.0)
    assert wrong.result is not None
    slow = wrong.result.metrics[known.SPEED].model_copy(update={"grade": Grade.C})
    disturbed = wrong.result.model_copy(update={"metrics": {known.SPEED: slow}})
    fell_back = wrong.result.model_copy(
        update={"fallbacks": ("asked for X, ran Y",), "number": 41}
    )
    also = [
        wrong.model_copy(update={"result": disturbed}),
        wrong.model_copy(update={"number": 41, "result": fell_back}),
    ]
    found = explained([*trials, *also])
    assert found.effects[: len(TRUE_SPEED)] == explained(trials).effects[: len(TRUE_SPEED)]
    assert next(f.left_out for f in found.fits if f.metric == known.SPEED) == 2


def test_shares_say_what_matters(forty: Explanation) -> None:
    assert share(forty, "batch") > share(forty, "compile") > share(forty, "quantize") > 0.01
    assert share(forty, "allocator") < 0.005
    assert share(forty, "quantize", known.KLD) > 0.95
    assert share(forty, "quantize.scheme", known.KLD) > 0.3
    assert share(forty, "quantize.group", known.KLD) < 0.005


def test_shares_are_the_same_where_columns_are_not_independent() -> None:
    """The params mode and width always change together: no effect of either is lost by that."""
    trials = known.random_study(40)
    values = {32: "a", 64: "b"}
    doubled = []
    for trial in trials:
        recipe = {name: dict(params) for name, params in trial.recipe.items()}
        if "quantize" in recipe:
            recipe["quantize"]["twin"] = values[int(recipe["quantize"]["group"])]
        doubled.append(trial.model_copy(update={"recipe": recipe}))
    plain, twins = explained(trials), explained(doubled)
    for name in ("batch", "compile", "quantize", "quantize.scheme"):
        assert share(twins, name) == pytest.approx(share(plain, name))
    with pytest.raises(KeyError):
        share(twins, "quantize.group")


def test_param_with_a_value_for_every_trial_is_left_to_its_plugin() -> None:
    recipes: list[RecipeDict] = [{}, {}, *({"batch": {"size": n}} for n in range(2, 40))]
    found = explained([known.timed(n, r) for n, r in enumerate(recipes)])
    assert effect(found, "batch").estimate is not None
    assert effect(found, "batch.size=9").estimate is None


def test_share_of_chance_is_tested() -> None:
    """Of a plugin that does nothing, one F test in twenty is below 5 %."""
    shares = [explained(known.random_study(30, seed, noise=0.3)).shares[0] for seed in range(40)]
    assert {s.plugin for s in shares} == {"allocator"}
    assert sum(s.p_value < 0.05 for s in shares) <= 6
    # What chance gives is taken off: R squared itself never falls to 0.
    assert statistics.median(s.share for s in shares) < 1e-9


def test_plugins_alone_are_shown_as_they_were_measured(forty: Explanation) -> None:
    first = next(one for one in forty.alone if one.recipe == {"batch": {"size": 4}})
    told = first.against_baseline[known.SPEED]
    trial = known.random_study(40)[first.number]
    assert trial.result is not None
    stored = trial.result.metrics[known.SPEED]
    assert (told.value, told.low, told.high) == (
        stored.ratio,
        stored.ratio_ci_low,
        stored.ratio_ci_high,
    )
    assert first.against_baseline[known.WEIGHTS] == Estimate(value=1.0)


def test_disturbed_trial_alone_is_shown_and_said_to_be_disturbed() -> None:
    trial = known.timed(1, {"compile": {"on": True}})
    assert trial.result is not None
    slow = trial.result.metrics[known.SPEED].model_copy(update={"grade": Grade.C})
    metrics = trial.result.metrics | {known.SPEED: slow}
    disturbed = known.trial(1, trial.recipe, metrics)
    (one,) = explained([known.timed(0, {}), disturbed]).alone
    assert one.disturbed == (known.SPEED,)
    assert known.SPEED in one.against_baseline


def test_answer_names_the_best_value_with_what_it_gave_and_cost(forty: Explanation) -> None:
    introduction, first, second, third, *_ = forty.answer
    assert "95 % intervals" in introduction
    assert first.startswith("batch.size=8 gave 2.")
    assert second.startswith("compile gave 1.5")
    assert third.startswith("quantize.scheme=int8 gave 1.")
    assert third.endswith(f"{chr(0x2212)}50 % weights and cost +0.020 nat KLD.")
    assert "No gain beyond noise was seen of: allocator." in forty.answer


def test_metric_that_never_changes_has_no_shares() -> None:
    recipes: list[RecipeDict] = [{}, {}, *([{"compile": {"on": True}}] * 8)]
    found = explained([known.timed(n, r) for n, r in enumerate(recipes)])
    assert [s for s in found.shares if s.metric == known.WEIGHTS] == []
    assert estimate(found, "compile", known.WEIGHTS).value == 1.0


def test_baseline_alone_explains_nothing() -> None:
    found = explained(known.random_study(1))
    assert found.answer[0] == "Nothing but the baseline was measured: no effect can be told."
    assert (found.effects, found.alone, found.shares) == ((), (), ())


def test_study_without_a_finished_trial_explains_nothing() -> None:
    assert explained([]).effects == ()


def test_two_thousand_trials_are_explained() -> None:
    found = explained(known.random_study(2000))
    for words, true in TRUE_SPEED.items():
        assert estimate(found, words).value == pytest.approx(true, rel=0.01)


def test_explanation_is_json_and_comes_back(forty: Explanation) -> None:
    assert Explanation.model_validate_json(forty.model_dump_json()) == forty
    assert Choice(plugin="a", param="b", value=1).words == "a.b=1"

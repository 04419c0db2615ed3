"""What an earlier study gives to one that begins, and that it cannot mislead it for long."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune.constraints import parse_all
from autotune.search.features import Features, Rows, make_features
from autotune.search.observation import Observation, Observations
from autotune.search.observer import Observer
from autotune.search.pool_code import Integers, PoolCode
from autotune.search.quantity import quantities_of
from autotune.search.surrogate_chooser import SurrogateChooser
from autotune.search.surrogates import Known, Surrogate
from autotune.search.transfer import LEAST_TRIALS, Transfer, transfer_of
from autotune.search.warm_start import Earlier, find_earlier
from autotune.store import Store

CodeOf = Callable[..., PoolCode]
OBJECTIVES = ("output_tokens_per_second", "weights_bytes")


def observed(code: PoolCode, count: int) -> list[tuple[int, Observation]]:
    """Larger batches are faster, more plugins take more bytes."""
    found = []
    for index in np.random.default_rng(0).permutation(len(code.recipes))[:count].tolist():
        recipe = code.recipes[index].to_dict()
        size = float(recipe.get("batch", {}).get("size", 1))
        values = {OBJECTIVES[0]: (100 * size, 0.0), OBJECTIVES[1]: (1e6 + 1e5 * len(recipe), 0.0)}
        found.append((index, Observation(values=values)))
    return found


def truth_of(features: Features) -> Rows:
    return 2 * features.matrix[:, 0].astype(float) - features.matrix[:, 1].astype(float)


def known(indices: Integers, losses: Rows) -> Known:
    return Known(indices, losses, np.zeros(len(losses)))


def test_too_few_trials_hand_nothing_over(code_of: CodeOf) -> None:
    quantities = quantities_of(OBJECTIVES)
    assert transfer_of(observed(code_of(), LEAST_TRIALS - 1), quantities) == Transfer()
    assert transfer_of(observed(code_of(), LEAST_TRIALS), quantities).known


def test_all_objectives_are_handed_over_or_nothing(code_of: CodeOf) -> None:
    found = observed(code_of(), 30)
    lacking = [
        (i, Observation(values={OBJECTIVES[0]: seen.values[OBJECTIVES[0]]})) for i, seen in found
    ]
    assert transfer_of(lacking, quantities_of(OBJECTIVES)) == Transfer()


def test_best_are_the_front_by_gain_then_what_is_behind_it() -> None:
    speeds = {7: 1.0, 3: 100.0, 5: 60.0, 8: 50.0, 9: 1.0, 2: 1000.0}
    sizes = {7: 1e6, 3: 9e6, 5: 2e6, 8: 3e6, 9: 9e6, 2: 1e5}
    found = [
        (i, Observation(values={OBJECTIVES[0]: (v, 0.0), OBJECTIVES[1]: (sizes[i], 0.0)}))
        for i, v in speeds.items()
    ]
    broken = dataclasses.replace(found.pop()[1], feasible=False)
    found += [(10 + k, found[4][1]) for k in range(3)]
    best = transfer_of([*found, (2, broken)], quantities_of(OBJECTIVES)).best
    assert best[0] == 5  # adds most by itself
    assert set(best[:3]) == {5, 3, 7}
    assert best[3] == 8
    assert 2 not in best


def test_no_more_than_a_few_are_to_be_tried_first(code_of: CodeOf) -> None:
    best = transfer_of(observed(code_of(), 40), quantities_of(OBJECTIVES)).best
    assert len(best) == len(set(best)) == 10


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_earlier_study_counts_until_it_misleads(code_of: CodeOf, sign: float) -> None:
    """Right, it leaves a smaller error than nothing would; wrong, it is soon left out."""
    features = make_features(code_of(), {})
    truth = truth_of(features)
    noise = np.random.default_rng(2)
    then = noise.permutation(len(truth))[:60]
    losses = truth[then] if sign > 0 else noise.permutation(truth)[then]
    cold, warm = Surrogate(features), Surrogate(features, known(then, losses))
    if sign < 0:
        warm.doubt_earlier()
    for index in np.random.default_rng(1).permutation(len(truth))[:12].tolist():
        for model in (cold, warm):
            model.learn(np.array([index]), 5 + truth[[index]])
    every = np.arange(len(truth))
    errors = [np.abs(model.expect(every)[0] - 5 - truth).mean() for model in (cold, warm)]
    if sign > 0:
        assert errors[1] < errors[0]
    else:
        assert errors[1] == pytest.approx(errors[0])


@pytest.mark.parametrize(
    ("values", "doubted", "heeded"), [(12, False, True), (12, True, False), (32, False, False)]
)
def test_study_that_tells_little_is_heeded_while_little_is_known(
    code_of: CodeOf, values: int, doubted: bool, heeded: bool
) -> None:
    features = make_features(code_of(), {})
    truth = truth_of(features)
    random = np.random.default_rng(3)
    then = random.permutation(len(truth))[:60]
    losses = truth[then] + 0.2 * random.normal(size=60)
    cold, warm = Surrogate(features), Surrogate(features, known(then, losses))
    if doubted:
        warm.doubt_earlier()
    for index in random.permutation(len(truth))[:values].tolist():
        value = truth[[index]] + 0.1 * random.normal()
        for model in (cold, warm):
            model.learn(np.array([index]), value)
    every = np.arange(len(truth))
    same = np.allclose(warm.expect(every)[0], cold.expect(every)[0])
    assert same != heeded


def test_what_is_measured_now_counts_more_than_what_was_before(code_of: CodeOf) -> None:
    features = make_features(code_of(), {})
    truth = truth_of(features)
    random = np.random.default_rng(3)
    then = random.permutation(len(truth))[:60]
    losses = truth[then] + 0.2 * random.normal(size=60)
    model = Surrogate(features, known(then, losses))
    model.learn(then[:12], truth[then[:12]])
    found = model.expect(then[:12])[0]
    assert np.abs(found - truth[then[:12]]).mean() < 0.2 * np.abs(losses - truth[then])[:12].mean()


def test_few_values_and_an_earlier_study_foretell_the_rest(code_of: CodeOf) -> None:
    """The two are on different levels, which what they have in common tells."""
    features = make_features(code_of(), {})
    truth = truth_of(features)
    then = np.random.default_rng(4).permutation(len(truth))[:60]
    model = Surrogate(features, known(then, truth[then] - 3))
    model.learn(then[:2], truth[then[:2]])
    means, deviations = model.expect(np.arange(len(truth)))
    assert means == pytest.approx(truth, abs=0.3)
    assert (deviations > 0).all()


def test_level_without_a_recipe_in_common_is_that_of_the_means(code_of: CodeOf) -> None:
    features = make_features(code_of(), {})
    truth = truth_of(features)
    order = np.random.default_rng(5).permutation(len(truth))
    then, now = order[:60], order[60:66]
    cold, warm = Surrogate(features), Surrogate(features, known(then, truth[then]))
    for model in (cold, warm):
        model.learn(now, 20 + truth[now])
    errors = [np.abs(m.expect(order)[0] - 20 - truth[order]).mean() for m in (cold, warm)]
    assert errors[1] < 0.05 * errors[0]


@pytest.mark.parametrize(("order", "expected"), [((1, 2, 3, 4), 1.0), ((4, 3, 2, 1), -1.0)])
def test_agreement_is_that_of_what_both_measured(
    code_of: CodeOf, order: tuple[float, ...], expected: float
) -> None:
    model = Surrogate(make_features(code_of(), {}), known(np.arange(9), np.arange(9.0)))
    model.learn(np.arange(20, 30), np.random.default_rng(0).random(10))
    model.learn(np.arange(3), np.array(order[:3]))
    assert model.agreement is None, "three are too few"
    model.learn(np.array([3]), np.array(order[3:]))
    assert model.agreement == pytest.approx(expected)


def test_values_that_are_all_one_neither_agree_nor_contradict(code_of: CodeOf) -> None:
    model = Surrogate(make_features(code_of(), {}), known(np.arange(9), np.arange(9.0)))
    model.learn(np.arange(6), np.zeros(6))
    assert model.agreement is None


def best_of(code: PoolCode, named: int = 0) -> list[int]:
    """What 40 trials found best, but for the baseline and what the user names."""
    best = transfer_of(observed(code, 40), quantities_of(OBJECTIVES)).best
    return [index for index in best if index > named]


def chooser_of(code: PoolCode, limits: tuple[str, ...] = (), named: int = 0) -> SurrogateChooser:
    """One that knows 40 trials."""
    quantities = quantities_of(OBJECTIVES, parse_all(limits))
    transfer = transfer_of(observed(code, 40), quantities)
    return SurrogateChooser(code, make_features(code, {}), quantities, 0, transfer, named=named)


def first_chosen(
    code: PoolCode,
    ends: Callable[[int], Observation],
    named: int = 0,
    limits: tuple[str, ...] = (),
    warm: int | None = None,
) -> list[int]:
    """What a search begins with; the baseline and the named come first."""
    chooser = chooser_of(code, limits, named)
    free = np.ones(len(code.recipes), dtype=bool)
    chosen = []
    for number in range(12 + named):
        index = number if number <= named else chooser.choose(free, warm)
        free[index] = False
        chooser.begin(index)
        chooser.observe(np.array([index]), Observations.one(ends(index)))
        chosen.append(index)
    return chosen[1 + named :]


def alike(code: PoolCode) -> dict[int, Observation]:
    return dict(observed(code, len(code.recipes)))


def reversed_of(code: PoolCode) -> Callable[[int], Observation]:
    """What was good is bad."""
    every = alike(code)

    def end(index: int) -> Observation:
        turned = {name: (1e9 / value, 0.0) for name, (value, _) in every[index].values.items()}
        return Observation(values=turned)

    return end


@pytest.mark.parametrize("named", [0, 3])
def test_search_begins_with_what_was_best_where_that_holds(code_of: CodeOf, named: int) -> None:
    code = code_of()
    every = alike(code)
    best = best_of(code, named)
    assert first_chosen(code, lambda index: every[index], named)[: len(best)] == best


def test_search_copies_no_more_of_a_study_that_contradicts(code_of: CodeOf) -> None:
    code = code_of()
    best = best_of(code)
    chosen = first_chosen(code, reversed_of(code))
    copied = 4 if 0 not in {index for index, _ in observed(code, 40)} else 3
    assert chosen[:copied] == best[:copied]
    assert chosen[copied] != best[copied]
    assert len(set(chosen[copied:]) & set(best)) < 3


@pytest.mark.parametrize("named", [0, 5])
def test_search_copies_no_more_of_what_fails(code_of: CodeOf, named: int) -> None:
    """Even if what the user named comes as in the earlier study."""
    code = code_of()
    every = alike(code)
    best = best_of(code, named)
    failed = Observation(failed=True, feasible=False)
    chosen = first_chosen(code, lambda index: failed if index in best else every[index], named)
    assert chosen[:3] == best[:3]
    assert len(set(chosen) & set(best)) < 6


def test_trials_that_are_lost_say_nothing_of_the_earlier_study(code_of: CodeOf) -> None:
    code = code_of()
    best = best_of(code)
    lost = Observation(failed=True, lost=True, feasible=False)
    every = alike(code)
    chosen = first_chosen(code, lambda index: lost if index in best[:4] else every[index])
    assert chosen[: len(best)] == best


@pytest.mark.parametrize("workers", [1, 6, 12])
def test_contradiction_is_seen_with_any_number_of_workers(
    code_of: CodeOf, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubted: list[Surrogate] = []
    monkeypatch.setattr(Surrogate, "doubt_earlier", lambda model: doubted.append(model))
    code = code_of()
    chooser = chooser_of(code)
    chooser.begin(0)
    free = np.ones(len(code.recipes), dtype=bool)
    free[0] = False
    running, end = [0], reversed_of(code)
    for _ in range(14):
        while len(running) < workers + 1:
            running.append(chooser.choose(free))
            free[running[-1]] = False
            chooser.begin(running[-1])
        index = running.pop(0)
        chooser.observe(np.array([index]), Observations.one(end(index)))
    chooser.choose(free)
    assert len(doubted) == len(set(doubted)) == len(OBJECTIVES)


def test_trials_that_cannot_be_compared_do_not_contradict(code_of: CodeOf) -> None:
    """Such as those of a study that is resumed, and that began without the other one."""
    code = code_of()
    every = alike(code)
    known = {index for index, _ in observed(code, 40)}
    own = [index for index in every if index not in known and index]
    chooser = chooser_of(code)
    free = np.ones(len(code.recipes), dtype=bool)
    for index in own[:30]:
        free[index] = False
        chooser.observe(np.array([index]), Observations.one(every[index]))
    assert chooser.choose(free) == best_of(code)[0]


def test_an_objective_that_does_not_differ_beyond_its_error_does_not_contradict(
    code_of: CodeOf,
) -> None:
    features = make_features(code_of(), {})
    random = np.random.default_rng(0)
    then = Known(np.arange(12), 1e-3 * random.random(12), np.full(12, 1e-3))
    model = Surrogate(features, then)
    model.learn(np.arange(10), 5 - then.losses[:10], np.full(10, 1e-3))
    assert model.agreement is None
    model.learn(np.arange(10), 5 - 100 * then.losses[:10], np.full(10, 1e-3))
    assert model.agreement is None, "what it measured before does not differ"


def test_long_study_keeps_what_was_best(code_of: CodeOf) -> None:
    code = code_of()
    every = [*observed(code, len(code.recipes))] * 5
    moved = [(i + 96 * k, seen) for k, (i, seen) in enumerate(every)]
    transfer = transfer_of(moved, quantities_of(OBJECTIVES))
    assert set(transfer.best) <= set(transfer.known[OBJECTIVES[0]].indices.tolist())
    assert len(transfer.known[OBJECTIVES[0]].indices) == 200


def test_search_copies_no_numbers_that_break_a_limit(code_of: CodeOf) -> None:
    code = code_of()
    every = alike(code)
    best = best_of(code)
    outputs = code.outputs[best].tolist()
    breaking = next(o for o in outputs if outputs.count(o) > 1)

    def end(index: int) -> Observation:
        kld = 1.0 if code.outputs[index] == breaking else 0.0
        values = {**every[index].values, "kld_mean_nats": (kld, 0.0)}
        return Observation(values=values, feasible=not kld)

    chosen = first_chosen(code, end, limits=("kld_mean_nats<=0.1",))
    assert sum(code.outputs[i] == breaking for i in chosen) == 1
    kept = [i for i in best if code.outputs[i] != breaking]
    assert set(kept) <= set(chosen)


def test_what_is_prepared_is_copied_first(code_of: CodeOf) -> None:
    code = code_of()
    every = alike(code)
    best = best_of(code)
    setups = code.setups[best].tolist()
    warm = next(i for i, s in zip(best, setups, strict=True) if s != setups[0])
    siblings = [i for i in best if code.setups[i] == code.setups[warm]]
    others = [i for i in best if code.setups[i] != code.setups[warm]]
    chosen = first_chosen(code, lambda index: every[index], warm=warm)
    assert chosen[: len(best)] == siblings + others


def test_study_begins_with_what_another_one_measured(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 30}))
    told: list[str] = []
    observer = Observer()
    observer.on_started = lambda plan, *_: told.extend(plan.notes)  # type: ignore[method-assign]
    second = lab.search(lab.plan(name="second", budget={"trials": 12}), observer=observer)
    for notes in (told, second.notes):
        assert any("begins with what 30 trials of the study 'first' let" in n for n in notes)
    cold = lab.search(lab.plan(name="third", budget={"trials": 12}, warm_start=False))
    assert not any("let expect" in note for note in cold.notes)


def test_other_samplers_begin_with_nothing(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 30}))
    second = lab.search(lab.plan(name="second", budget={"trials": 12}, sampler="random"))
    assert not any("let expect" in note for note in second.notes)


def test_the_same_model_tells_more_than_the_latest_study(lab: Any) -> None:
    lab.search(lab.plan(name="mine", budget={"trials": 12}))
    lab.search(lab.plan(name="other", budget={"trials": 12}, warm_start=False))
    with Store.open(lab.url) as store:
        other = store.study("other")
        store.update_study("other", definition={**other.definition, "model_files": "another"})
        plan = lab.plan(name="new")
        code = PoolCode(plan.pool.recipes, plan.registry.plugins)
        assert find_earlier(plan, store, code).name == "mine"


def test_short_studies_and_other_tasks_tell_nothing(lab: Any) -> None:
    lab.search(lab.plan(name="short", budget={"trials": LEAST_TRIALS - 1}))
    lab.search(lab.plan(name="encoder", budget={"trials": 12}))
    with Store.open(lab.url) as store:
        encoder = store.study("encoder")
        store.update_study("encoder", definition={**encoder.definition, "task": "other"})
        plan = lab.plan(name="new")
        code = PoolCode(plan.pool.recipes, plan.registry.plugins)
        assert find_earlier(plan, store, code) == Earlier()

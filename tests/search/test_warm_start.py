"""What an earlier study gives to one that begins, and that it cannot mislead it for long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autotune.search.features import make_features
from autotune.search.observation import Observation
from autotune.search.observer import Observer
from autotune.search.pool_code import PoolCode
from autotune.search.priors import LEAST_TRIALS, priors_of
from autotune.search.quantity import quantities_of
from autotune.search.surrogates import Prior, Surrogate
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


def test_prior_foretells_recipes_that_were_not_measured(code_of: CodeOf) -> None:
    code = code_of()
    quantities = quantities_of(OBJECTIVES)
    priors = priors_of(observed(code, 40), make_features(code, {}), quantities)
    sizes = [float(r.to_dict().get("batch", {}).get("size", 1)) for r in code.recipes]
    expected = [quantities[0].loss(100 * size) for size in sizes]
    assert np.abs(priors[OBJECTIVES[0]].means - expected).mean() < 0.1


def test_too_few_trials_are_no_prior(code_of: CodeOf) -> None:
    code = code_of()
    few = observed(code, LEAST_TRIALS - 1)
    assert priors_of(few, make_features(code, {}), quantities_of(OBJECTIVES)) == {}


def test_all_objectives_have_a_prior_or_none(code_of: CodeOf) -> None:
    code = code_of()
    found = observed(code, 30)
    lacking = [
        (i, Observation(values={OBJECTIVES[0]: seen.values[OBJECTIVES[0]]})) for i, seen in found
    ]
    assert priors_of(lacking, make_features(code, {}), quantities_of(OBJECTIVES)) == {}


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_prior_counts_until_it_misleads(code_of: CodeOf, sign: float) -> None:
    """Right, it leaves a smaller error than nothing would; wrong, it is soon forgotten."""
    features = make_features(code_of(), {})
    truth = 2 * features.matrix[:, 0].astype(float) - features.matrix[:, 1].astype(float)
    prior = Prior(sign * truth, np.full(len(truth), 0.05), float(truth.std()))
    cold, warm = Surrogate(features), Surrogate(features, prior)
    for index in np.random.default_rng(1).permutation(len(truth))[:12].tolist():
        for model in (cold, warm):
            model.learn(np.array([index]), 5 + truth[[index]])
    every = np.arange(len(truth))
    errors = [np.abs(model.expect(every)[0] - 5 - truth).mean() for model in (cold, warm)]
    if sign > 0:
        assert errors[1] < errors[0]
    else:
        assert errors[1] == pytest.approx(errors[0])


def test_one_value_and_a_prior_foretell_the_rest(code_of: CodeOf) -> None:
    features = make_features(code_of(), {})
    truth = 2 * features.matrix[:, 0].astype(float) - features.matrix[:, 1].astype(float)
    model = Surrogate(features, Prior(truth - 3, np.full(len(truth), 0.01), float(truth.std())))
    model.learn(np.array([0]), truth[[0]])
    means, deviations = model.expect(np.arange(len(truth)))
    assert means == pytest.approx(truth, abs=0.05)
    assert (deviations > 0.01).all()


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

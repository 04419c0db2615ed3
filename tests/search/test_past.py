"""What a search that goes on reads of its trials: the same as all of them, in columns."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from autotune.errors import Interrupted
from autotune.front import front, front_points
from autotune.messages import Grade, Measurement, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.search.budget import Clock
from autotune.search.observation import Observation
from autotune.search.past import Past
from autotune.search.patience import Patience
from autotune.search.rivals import RivalFront
from autotune.search.spending import Spending
from autotune.store.records import TrialRecord
from autotune.store.store import Store
from autotune.testing import fake_result

SPEED, WEIGHTS, KLD = OBJECTIVES = ("output_tokens_per_second", "weights_bytes", "kld_mean_nats")
OUTCOMES = [Outcome.OK] * 8 + [Outcome.INFEASIBLE, Outcome.CRASHED, Outcome.LOST]


def timed(value: float, width: float, grade: Grade) -> Measurement:
    low, high = value * (1 - width), value * (1 + width)
    return Measurement(value=value, unit="1/s", ci_low=low, ci_high=high, n=8, grade=grade)


def measured(spec: TrialSpec) -> TrialResult:
    """Anything that a machine may say."""
    rng = random.Random(spec.number)
    outcome = rng.choice(OUTCOMES) if spec.number else Outcome.OK
    loss = rng.choice([0.0, 0.001, 0.01, 0.2]) if spec.number else 0.0
    result = fake_result(spec, outcome, weights_bytes=rng.choice([1e6, 2e6]), kld_mean_nats=loss)
    if outcome not in (Outcome.OK, Outcome.INFEASIBLE):
        return result.model_copy(update={"warm": rng.random() < 0.5})
    speed = timed(100 * rng.uniform(0.5, 2), rng.choice([0.01, 0.1]), rng.choice([*Grade]))
    metrics = result.metrics | {SPEED: speed if rng.random() < 0.9 or not spec.number else null()}
    fallbacks = ("another kernel",) if rng.random() < 0.1 else ()
    changed = {
        "metrics": metrics,
        "fallbacks": (*fallbacks, "no counters"),
        "phase_seconds": {"lock": 7.0, "prepare": rng.uniform(1, 5), "measure": 2.0},
    }
    return result.model_copy(update=changed)


def as_finished(trials: list[TrialRecord]) -> list[TrialRecord]:
    return sorted(trials, key=lambda t: (bool(t.recipe), t.finished_at or t.started_at))


def clock_of(long: Any) -> Clock:
    patience = Patience(12, 0.01, OBJECTIVES, long.long_plan.constraints)
    return Clock(long.long_plan.study.budget, 100, Spending(), patience)


def null() -> Measurement:
    return Measurement.unavailable("1/s", "the clock stood still")


@pytest.fixture(scope="module")
def long(make_lab: Any) -> Any:
    """A study of many trials, with constraints, repetitions and all kinds of outcomes."""
    lab = make_lab()
    lab.long_plan = lab.plan(
        budget={"trials": 60},
        seed=3,
        sampler="random",
        constraints=["kld_mean_nats<=0.1", "output_tokens_per_second>=60"],
    )
    lab.search(lab.long_plan, measured)
    return lab


@pytest.fixture
def past(long: Any) -> Past:
    with Store.open(long.url) as store:
        return Past(long.long_plan, store)


def test_trials_come_in_columns_as_they_finished(long: Any, past: Past) -> None:
    trials = as_finished(long.trials())
    assert list(past.trials.numbers) == [t.number for t in trials]
    assert list(past.trials.recipes) == [t.recipe for t in trials]
    assert past.outcomes.total() == len(trials) == 60
    assert past.baseline is not None
    assert not past.baseline.recipe


def test_sampler_learns_the_same_as_of_each_trial_by_itself(long: Any, past: Past) -> None:
    trials = {t.number: t for t in long.trials()}
    seen = past.observations()
    for i, number in enumerate(past.trials.numbers):
        alone = Observation.of(trials[number].result, long.long_plan.constraints)
        wanted = {n: pair for n, pair in alone.values.items() if n in seen.values}
        row = seen.row(i)
        assert row.values.keys() == wanted.keys()
        for name, pair in wanted.items():
            assert row.values[name] == pytest.approx(pair)
        for name in ("failed", "lost", "feasible", "warm", "phase_seconds"):
            assert getattr(row, name) == getattr(alone, name), (number, name)


def test_whole_are_all_of_the_front_and_far_from_all(long: Any, past: Past) -> None:
    points = front_points(long.trials(), long.long_plan.constraints)
    best = {p.number for p in front(points, OBJECTIVES)}
    whole = {t.number for t in past.whole}
    assert 0 in whole
    assert best <= whole
    assert len(whole) < 45
    assert {p.number for p in front(front_points(past.whole), OBJECTIVES)} == best


def test_rivals_are_the_same_as_of_all_trials(long: Any, past: Past) -> None:
    of_all, of_whole = (RivalFront(long.long_plan) for _ in range(2))
    of_all.take(long.trials())
    of_whole.take(past.whole)
    assert of_all.rivals()
    assert of_whole.rivals() == of_all.rivals()


def test_what_was_spent_is_the_same_as_of_each_trial_by_itself(long: Any, past: Past) -> None:
    clock, wanted = clock_of(long), clock_of(long)
    past.count(clock)
    for trial in long.trials():
        wanted.add(trial, long.long_plan.gpus(trial.recipe))
    assert clock.spent.gpu_seconds == pytest.approx(wanted.spent.gpu_seconds) != 0


def test_patience_goes_on_as_if_it_had_seen_all(long: Any) -> None:
    """It sees its window whole, and before it what may be on the front."""
    budget = long.long_plan.study.budget.model_copy(update={"patience_trials": 12})
    study = long.long_plan.study.model_copy(update={"budget": budget})
    clock = clock_of(long)
    with Store.open(long.url) as store:
        Past(replace(long.long_plan, study=study), store).count(clock)
    wanted = clock_of(long).patience
    assert clock.patience is not None
    assert wanted is not None
    for trial in as_finished(long.trials()):
        wanted.add(trial)
    assert clock.patience.reason == wanted.reason != ""


def test_study_that_measured_nothing_yet_has_an_empty_past(lab: Any) -> None:
    def stop(spec: TrialSpec) -> TrialResult:
        raise KeyboardInterrupt

    plan = lab.plan(budget={"trials": 5})
    with pytest.raises(Interrupted):
        lab.search(plan, stop)
    with Store.open(lab.url) as store:
        past = Past(plan, store)
    assert (past.baseline, past.baseline_metrics, past.whole, past.recipes) == (None, None, [], [])
    assert past.outcomes.total() == len(past.observations().failed) == 0

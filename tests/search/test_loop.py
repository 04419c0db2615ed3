"""A whole search on a real database file, with numbers by formula."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState as Told
from sqlalchemy.orm import Session

from autotune.errors import AutotuneError, Interrupted
from autotune.execute.inline import InlineExecutor
from autotune.messages import Metrics, TrialResult, TrialSpec
from autotune.outcome import Lesson, Outcome, lesson
from autotune.search.budget import Clock
from autotune.search.loop import MAX_ATTEMPTS, Search
from autotune.search.observer import Observer
from autotune.search.register import register
from autotune.store import accuracy
from autotune.store.accuracy import AccuracyKey
from autotune.store.records import StudyState
from autotune.store.store import Store
from autotune.testing import fake_result

Failing = Callable[..., Callable[[TrialSpec], TrialResult]]


def recipes(lab: Any) -> list[str]:
    return [t.recipe_key for t in lab.trials()]


def outcomes(lab: Any) -> list[str]:
    return [str(t.result.outcome) for t in lab.trials() if t.result]


def interrupt_after(lab: Any, count: int) -> Callable[[TrialSpec], TrialResult]:
    """Ctrl-C while a trial runs, after so many are measured."""

    def run(spec: TrialSpec) -> TrialResult:
        if len(lab.specs) == count:
            raise KeyboardInterrupt
        result: TrialResult = lab.measure(spec)
        return result

    return run


SMALL = ("compile", "batch")
"""Plugins of a pool of eight recipes."""


class Watcher(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_started(self, plan: Any, past: Any, clock: Clock) -> None:
        self.seen.append(f"started {past.outcomes.total()} {clock.describe()}")

    def on_trial_started(self, spec: TrialSpec) -> None:
        self.seen.append(f"trial {spec.number}")

    def on_trial_finished(self, study: Any, trial: Any) -> None:
        self.seen.append(f"finished {trial.number}")

    def on_stopped(self, reason: str, begun: int) -> None:
        self.seen.append(f"stopped after {begun}: {reason}")


@pytest.fixture(scope="module")
def done(make_lab: Callable[[], Any]) -> Any:
    """A finished search, looked at from several sides."""
    lab = make_lab()
    lab.watcher = Watcher()
    lab.done_plan = lab.plan(budget={"trials": 6}, seed=5, constraints=["kld_mean_nats<=0.03"])
    lab.search(lab.done_plan, observer=lab.watcher)
    lab.done_specs = tuple(lab.specs)  # other tests search on
    return lab


def test_search_stops_at_its_budget(done: Any) -> None:
    study = done.study()
    assert (study.state, study.convergence_reason) == (StudyState.FINISHED, "budget: 6 trials")
    assert study.notes == ("a note",)
    assert [t.number for t in done.trials()] == list(range(6))
    assert outcomes(done) == ["ok"] * 6
    assert done.agreed()


def test_baseline_is_first_and_known_to_all_others(done: Any) -> None:
    first, *others = done.done_specs
    assert first.recipe == {}
    assert first.baseline is None
    assert all(s.baseline == done.trials()[0].result.metrics for s in others)


def test_spec_holds_all_that_the_plan_says(done: Any) -> None:
    plan, spec = done.done_plan, done.done_specs[1]
    assert (spec.study, spec.number, spec.seed) == ("first", 1, 5)
    assert (spec.objectives, spec.constraints) == (plan.objectives, ("kld_mean_nats<=0.03",))
    assert (spec.model, spec.workload, spec.device) == (plan.model, plan.workload, plan.device)
    assert spec.directory == str(plan.directory.absolute())


def test_observer_is_told_everything_in_order(done: Any) -> None:
    pairs = [[f"trial {n}", f"finished {n}"] for n in range(6)]
    told = ["started 0 6 trials", *(word for pair in pairs for word in pair)]
    assert done.watcher.seen == [*told, "stopped after 6: budget: 6 trials"]


def test_constraints_reach_optuna(done: Any) -> None:
    told = [t for t in done.told() if t.state is Told.COMPLETE]
    klds = [t.result.metrics["kld_mean_nats"].value for t in done.trials()]
    broken = [t.constraints["kld_mean_nats<=0.03"] > 0 for t in told]
    assert broken == [kld > 0.03 for kld in klds]
    assert set(broken) == {True, False}


def test_same_seed_same_search_beside_other_studies(done: Any) -> None:
    first = done.trials()
    plan = done.plan(
        name="second",
        budget={"trials": 6},
        seed=5,
        constraints=["kld_mean_nats<=0.03"],
        warm_start=False,
    )
    done.search(plan)
    assert [t.recipe for t in done.trials("second")] == [t.recipe for t in first]
    assert done.trials() == first
    assert done.agreed("second")


@pytest.mark.parametrize("slots", [1, 3])
def test_search_exhausts_a_small_pool_without_repeating(lab: Any, slots: int) -> None:
    in_flight: list[int] = []

    class Counting(InlineExecutor):
        def wait(self) -> TrialResult:
            in_flight.append(len(self._waiting))
            return super().wait()

    plan = lab.plan(*SMALL, budget={"trials": 99})
    with Store.open(lab.url) as store:
        register(plan, store, resume=False)
        executor = Counting(lab.measure, slots)
        study = Search(plan, store, lab.url, lambda _: executor, Observer()).run()
    assert study.convergence_reason == "pool exhausted: all 8 recipes were tried"
    assert sorted(recipes(lab)) == sorted(r.key for r in plan.pool.recipes)
    assert in_flight == ([1] * 8 if slots == 1 else [1, 3, 3, 3, 3, 3, 2, 1])
    assert lab.agreed()


def test_accuracy_is_measured_once_per_output_key(lab: Any) -> None:
    lab.search(lab.plan("quantize", "compile", budget={"trials": 99}))
    assert len(lab.specs) == 4 * 2
    assert len(lab.scored) == len(set(lab.scored)) == 4
    assert [s.known_accuracy is None for s in lab.specs].count(True) == 4


def test_accuracy_is_reused_by_another_study(lab: Any) -> None:
    lab.search(lab.plan("compile", budget={"trials": 99}))
    scored = len(lab.scored)
    lab.search(lab.plan("compile", name="second", budget={"trials": 99}))
    assert len(lab.scored) == scored == 1


def test_accuracy_of_another_model_is_not_reused(lab: Any) -> None:
    lab.search(lab.plan("compile", budget={"trials": 99}))
    plan = lab.plan("compile", name="second", budget={"trials": 99})
    other = plan.model.model_copy(update={"fingerprint": "f" * 64})
    lab.search(dataclasses.replace(plan, model=other))
    assert len(lab.scored) == 2


def test_failures_of_every_kind_do_not_stop_the_study(lab: Any) -> None:
    """Nor does a study in which nothing but the baseline ever worked."""
    failures = [o for o in Outcome if lesson(o) is Lesson.REJECT]

    def run(spec: TrialSpec) -> TrialResult:
        outcome = failures[spec.number % len(failures)]
        found: TrialResult = fake_result(spec, outcome) if spec.number else lab.measure(spec)
        return found

    study = lab.search(lab.plan(*SMALL, budget={"trials": 8}), run)
    assert study.state is StudyState.FINISHED
    assert outcomes(lab) == ["ok", *[failures[n % len(failures)] for n in range(1, 8)]]
    assert len(set(recipes(lab))) == 8
    assert lab.agreed()


def test_infeasible_without_all_metrics_goes_on(lab: Any) -> None:
    def run(spec: TrialSpec) -> TrialResult:
        if "prune" in spec.recipe:
            return fake_result(spec, Outcome.INFEASIBLE, kld_mean_nats=9.0)
        result: TrialResult = lab.measure(spec)
        return result

    lab.search(lab.plan("prune", budget={"trials": 99}), run)
    assert sorted(set(outcomes(lab))) == ["infeasible", "ok"]
    assert lab.agreed()


def test_prepared_process_is_used_for_siblings(lab: Any) -> None:
    """A result that was not warm is followed by a sibling, if one is left."""

    def run(spec: TrialSpec) -> TrialResult:
        warm = bool(lab.specs) and lab.specs[-1].setup_key == spec.setup_key
        result: TrialResult = lab.measure(spec)
        return result.model_copy(update={"warm": warm})

    lab.search(lab.plan(budget={"trials": 7}, sampler="tpe"), run)
    keys = [s.setup_key for s in lab.specs]
    for before, this, after in zip(keys, keys[1:], keys[2:], strict=False):
        seen = keys[: keys.index(this)].count(this)
        if before != this and seen == 0:
            assert this == after


def test_minutes_stop_the_search(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock, "minutes", property(lambda _: float(len(lab.specs))))
    study = lab.search(lab.plan(*SMALL, budget={"minutes": 3}))
    assert study.convergence_reason == "budget: 3 minutes"
    assert len(lab.trials()) == 3


def test_interrupt_keeps_everything_and_resume_goes_on(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 6})
    with pytest.raises(Interrupted, match="every finished trial is kept"):
        lab.search(plan, interrupt_after(lab, 3))
    assert lab.study().state is StudyState.INTERRUPTED
    before = lab.trials()
    assert [t.result is not None for t in before] == [True] * 3 + [False]

    study = lab.search(plan, resume=True)
    after = lab.trials()
    assert (study.state, study.convergence_reason) == (StudyState.FINISHED, "budget: 6 trials")
    assert [t.number for t in after] == list(range(6))
    assert after[:3] == before[:3]
    # A person's interrupt is no failed attempt.
    assert (after[3].recipe, after[3].attempts) == (before[3].recipe, 1)
    assert len(set(recipes(lab))) == 6
    assert lab.agreed()


def test_interrupt_with_three_slots_repeats_what_was_running(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 6})
    with pytest.raises(Interrupted):
        lab.search(plan, interrupt_after(lab, 2), slots=3)
    waiting = [t.number for t in lab.trials() if t.result is None]
    assert len(waiting) == 3
    lab.search(plan, resume=True, slots=3)
    assert [s.number for s in lab.specs[2:5]] == waiting
    assert len(set(recipes(lab))) == len(lab.trials()) == 6


def test_resume_of_a_finished_study_with_a_larger_budget(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 2}))
    lab.search(lab.plan(*SMALL, budget={"trials": 2}), resume=True)
    assert len(lab.trials()) == 2
    lab.search(lab.plan(*SMALL, budget={"trials": 6}), resume=True)
    assert len(set(recipes(lab))) == len(lab.trials()) == 6
    assert len(lab.calls()) == 6


def test_resume_of_a_finished_study_without_more_budget_changes_nothing(lab: Any) -> None:
    lab.search(lab.plan(budget={"trials": 5}))
    watcher = Watcher()
    found = lab.search(lab.plan(budget={"trials": 3}), resume=True, observer=watcher)
    assert len(lab.trials()) == 5
    assert found.convergence_reason == "budget: 5 trials"
    assert found.state is StudyState.FINISHED
    assert watcher.seen == ["started 5 3 trials", "stopped after 0: budget: 3 trials"]


def test_why_an_earlier_run_ended_is_not_said_of_a_later_one(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 2}))
    plan = lab.plan(*SMALL, budget={"trials": 6})
    with pytest.raises(Interrupted):
        lab.search(plan, interrupt_after(lab, len(lab.specs) + 1), resume=True)
    assert (lab.study().state, lab.study().convergence_reason) == (StudyState.INTERRUPTED, "")


def test_failure_of_the_executor_is_no_result(lab: Any) -> None:
    def run(spec: TrialSpec) -> TrialResult:
        if len(lab.specs) == 2:
            raise RuntimeError("the device fell off the bus")
        result: TrialResult = lab.measure(spec)
        return result

    with pytest.raises(RuntimeError, match="fell off the bus"):
        lab.search(lab.plan(*SMALL, budget={"trials": 4}), run)
    assert lab.study().state is StudyState.INTERRUPTED
    lab.search(lab.plan(*SMALL, budget={"trials": 4}), resume=True)
    assert outcomes(lab) == ["ok"] * 4


def test_baseline_that_fails_ends_the_search_and_is_measured_again(
    lab: Any, failing: Failing
) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 3})
    words = r"the baseline cannot be measured \(crashed\): made to end as .* --resume"
    with pytest.raises(AutotuneError, match=words):
        lab.search(plan, failing(lambda spec: not spec.recipe, Outcome.CRASHED))
    assert lab.study().state is StudyState.INTERRUPTED
    assert outcomes(lab) == []
    lab.search(plan, resume=True)
    assert lab.specs[0].recipe == {}
    assert outcomes(lab) == ["ok"] * 3


def test_baseline_that_failed_often_is_measured_once_it_is_mended(
    lab: Any, failing: Failing
) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 2})
    broken = failing(lambda spec: not spec.recipe, Outcome.CRASHED)
    for attempt in range(MAX_ATTEMPTS + 1):
        with pytest.raises(AutotuneError, match="the baseline cannot be measured"):
            lab.search(plan, broken, resume=attempt > 0)
    assert lab.trials()[0].attempts == MAX_ATTEMPTS + 1
    assert lab.search(plan, resume=True).state is StudyState.FINISHED
    assert outcomes(lab) == ["ok"] * 2
    assert lab.agreed()


def test_executor_that_cannot_be_made_leaves_the_study_interrupted(lab: Any) -> None:
    def make_executor(_: object) -> InlineExecutor:
        raise RuntimeError("no device to run on")

    plan = lab.plan(*SMALL, budget={"trials": 2})
    with Store.open(lab.url) as store:
        register(plan, store, resume=False)
        search = Search(plan, store, lab.url, make_executor, Observer())
        with pytest.raises(RuntimeError, match="no device to run on"):
            search.run()
    assert lab.study().state is StudyState.INTERRUPTED
    assert lab.search(plan, resume=True).state is StudyState.FINISHED


def test_accuracy_is_kept_together_with_its_trial_or_not_at_all(
    lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = accuracy.add

    def die(session: Session, key: AccuracyKey, metrics: Metrics) -> None:
        add(session, key, metrics)
        if len(lab.scored) == 2:
            raise SystemExit(9)

    plan = lab.plan("quantize", budget={"trials": 2})
    with monkeypatch.context() as patch:
        patch.setattr(accuracy, "add", die)
        with pytest.raises(SystemExit):
            lab.search(plan)
    assert [t.result is None for t in lab.trials()] == [False, True]
    lab.search(plan, resume=True)
    assert [s.known_accuracy is None for s in lab.specs] == [True] * 3
    assert outcomes(lab) == ["ok"] * 2
    assert lab.agreed()


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.INFEASIBLE])
def test_value_that_is_no_number_does_not_stop_the_search(lab: Any, outcome: Outcome) -> None:
    def run(spec: TrialSpec) -> TrialResult:
        result: TrialResult = lab.measure(spec)
        if not spec.recipe:
            return result
        names = dict.fromkeys(result.metrics, float("nan"))
        return fake_result(spec, outcome, **names)

    plan = lab.plan(*SMALL, budget={"trials": 3})
    lab.search(plan, run)
    assert lab.search(plan, resume=True).state is StudyState.FINISHED
    assert outcomes(lab) == ["ok", outcome, outcome]
    assert [t.values == lab.told()[0].values for t in lab.told()] == [True] * 3
    assert lab.agreed()

"""The coordinator is killed at each point of a trial; the next run loses and repeats nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

import optuna
import pytest

from autotune.messages import TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.search import trial_tables
from autotune.search.ledger import Ledger
from autotune.search.loop import MAX_ATTEMPTS
from autotune.search.sampler import PoolSampler
from autotune.store import trials
from autotune.store.records import StudyState
from autotune.store.store import Store
from autotune.testing import fake_result, fake_spec

TRIALS = 3
PLUGINS = ("compile", "batch")


def die() -> NoReturn:
    """As a SIGKILL: nothing is cleaned up."""
    os._exit(9)


def die_at(owner: Any, name: str, call: int, *, before: bool = False) -> Callable[[], None]:
    """Kills the process at a call of a method or function. Only ever used in a child."""

    def prepare() -> None:
        original, calls = getattr(owner, name), Counter[str]()

        def dying(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            if before and calls[name] == call:
                die()
            found = original(*args, **kwargs)
            if calls[name] == call:
                die()
            return found

        setattr(owner, name, dying)

    return prepare


POINTS: dict[str, tuple[Callable[[], None], int]] = {
    "after ask": (die_at(PoolSampler, "next_recipe", 2), 0),
    "after ask of the baseline": (die_at(PoolSampler, "next_recipe", 1), 0),
    "while a trial is begun, in Optuna's tables": (die_at(trial_tables, "_add_attributes", 4), 0),
    "while a trial is begun, in ours": (die_at(trials, "start", 2), 0),
    "after the beginning": (die_at(Ledger, "begin", 2), 0),
    "before the end": (die_at(Ledger, "finish", 2, before=True), 1),
    "while a trial is ended, in ours": (die_at(trials, "finish", 2), 1),
    "while a trial is ended, in Optuna's tables": (die_at(trial_tables, "_add_attributes", 3), 1),
    "after the end": (die_at(Ledger, "finish", 2), 0),
    "after the end of the baseline": (die_at(Ledger, "finish", 1), 0),
    "at the end": (die_at(Ledger, "finish", TRIALS), 0),
}
"""Point → how to die there, and how many measurements are lost."""


@pytest.mark.parametrize("point", POINTS)
def test_resume_after_a_death_loses_and_repeats_nothing(lab: Any, point: str) -> None:
    prepare, lost = POINTS[point]
    plan = lab.plan(
        "compile", "batch", budget={"trials": TRIALS}, constraints=["kld_mean_nats<=0.5"]
    )
    lab.die(plan, prepare)
    finished = [t for t in lab.trials() if t.result]
    assert lab.study().state is StudyState.RUNNING

    study = lab.search(plan, resume=True)
    after = lab.trials()
    assert (study.state, len(after)) == (StudyState.FINISHED, TRIALS)
    assert [t for t in after if t.number in {f.number for f in finished}] == finished
    assert all(t.result for t in after)
    assert len({t.recipe_key for t in after}) == TRIALS
    assert len(lab.calls()) == TRIALS + lost
    assert lab.agreed()


def test_deaths_in_a_row(lab: Any) -> None:
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    lab.die(plan, die_at(Ledger, "begin", 2))
    lab.die(plan, die_at(Ledger, "finish", 1), resume=True)
    lab.die(plan, die_at(PoolSampler, "next_recipe", 1), resume=True)
    lab.search(plan, resume=True)
    assert [t.number for t in lab.trials()] == list(range(TRIALS))
    assert len(lab.calls()) == len(set(lab.calls())) == TRIALS
    assert lab.agreed()


def test_result_that_an_older_version_did_not_tell_optuna_is_told(lab: Any) -> None:
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    lab.die(plan, die_at(Ledger, "begin", 2))
    with Store.open(lab.url) as store:
        store.finish_trial(plan.name, fake_result(fake_spec(1), output_tokens_per_second=7.0))
    assert not lab.agreed()
    lab.search(plan, resume=True)
    assert lab.agreed()
    assert lab.told()[1].values[0] == 7.0


@pytest.mark.parametrize("measured", [0, TRIALS - 1])
def test_trial_of_optunas_that_was_never_begun_is_given_up(lab: Any, measured: int) -> None:
    """An older version could die just there; another program can add one at any time."""
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    point = (PoolSampler, "next_recipe", measured + 1)
    lab.die(plan, die_at(*point))
    study = optuna.load_study(study_name=plan.name, storage=lab.url)
    study.ask()
    study._storage.remove_session()
    lab.search(plan, resume=True)
    failed = optuna.trial.TrialState.FAIL
    assert [t.number for t in lab.told() if t.state is failed] == [measured]
    assert len([t for t in lab.trials() if t.result]) == TRIALS
    assert lab.agreed()


def test_trial_that_was_told_while_no_coordinator_was_there_is_measured(lab: Any) -> None:
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    lab.die(plan, die_at(Ledger, "begin", 2))
    study = optuna.load_study(study_name=plan.name, storage=lab.url)
    study.tell(1, [1.0] * len(study.directions))
    study._storage.remove_session()
    lab.search(plan, resume=True)
    assert [t.result.outcome for t in lab.trials()] == [Outcome.OK] * TRIALS


def kill_at_trial(lab: Any, number: int) -> Callable[[], Callable[[TrialSpec], TrialResult]]:
    """The recipe of one trial takes the machine down."""

    def run(spec: TrialSpec) -> TrialResult:
        if spec.number == number:
            die()
        result: TrialResult = lab.measure(spec)
        return result

    return lambda: run


def test_coordinator_that_dies_for_its_own_reasons_costs_no_trial(lab: Any) -> None:
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    for attempt in range(MAX_ATTEMPTS):
        lab.die(plan, kill_at_trial(lab, 1), resume=attempt > 0)
    lab.search(plan, resume=True, max_attempts=None)
    assert [t.result.outcome for t in lab.trials()] == [Outcome.OK] * TRIALS


def test_trial_that_kills_its_coordinator_is_given_up_as_lost(lab: Any) -> None:
    plan = lab.plan(*PLUGINS, budget={"trials": TRIALS})
    for attempt in range(MAX_ATTEMPTS):
        lab.die(plan, kill_at_trial(lab, 1), resume=attempt > 0)
        assert lab.trials()[1].attempts == attempt + 1
    lab.search(plan, kill_at_trial(lab, 1)(), resume=True)
    results = [t.result for t in lab.trials()]
    assert results[1].outcome is Outcome.LOST
    assert "the search died 3 times" in results[1].explanation
    assert [r.outcome for r in results if r.number != 1] == [Outcome.OK] * (TRIALS - 1)
    assert lab.agreed()

"""Repetitions in fresh processes, once the search is over."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from autotune.errors import Interrupted
from autotune.messages import TASK_RUN, TaskFile, TaskScore, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.store.records import StudyState
from autotune.testing import fake_result

SMALL = ("compile", "batch")
"""Plugins of a pool of eight recipes."""


def test_front_is_repeated_in_fresh_processes(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 5}, confirm={"processes": 2, "points": "picks"})
    lab.search(plan)
    confirmed = [t for t in lab.trials() if t.confirmations]
    assert 2 <= len(confirmed) < 5
    assert all(set(t.confirmations) == {1, 2} for t in confirmed)
    assert not confirmed[0].recipe, "the baseline is repeated too"
    again = [spec for spec in lab.specs if spec.confirmation]
    assert len(again) == 2 * len(confirmed)
    assert [spec.confirmation for spec in again][: len(confirmed)] == [1] * len(confirmed)
    assert all(spec.known_accuracy is not None for spec in again)


def test_nothing_is_repeated_where_nothing_keeps_the_constraints(lab: Any) -> None:
    limits = {"constraints": ["weights_bytes<=1"], "confirm": {"processes": 1}}
    plan = lab.plan(*SMALL, budget={"trials": 3}, **limits)

    def run(spec: TrialSpec) -> TrialResult:
        measured: TrialResult = lab.measure(spec)
        return measured.model_copy(update={"outcome": Outcome.INFEASIBLE})

    lab.search(plan, run)
    assert len(lab.specs) == 3
    assert not any(spec.confirmation for spec in lab.specs)


def test_repetitions_that_are_stored_are_not_run_again(lab: Any) -> None:
    confirm = {"processes": 2, "points": "picks"}
    plan = lab.plan(*SMALL, budget={"trials": 4}, confirm=confirm)

    def run(spec: TrialSpec) -> TrialResult:
        if spec.confirmation == 2:
            raise KeyboardInterrupt
        result: TrialResult = lab.measure(spec)
        return result

    with pytest.raises(Interrupted):
        lab.search(plan, run)
    assert lab.study().state is StudyState.INTERRUPTED
    stored = sum(len(t.confirmations) for t in lab.trials())
    assert stored > 0
    lab.specs.clear()
    lab.search(plan, resume=True)
    assert {spec.confirmation for spec in lab.specs} == {2}
    assert all(set(t.confirmations) in ({1, 2}, set()) for t in lab.trials())


def test_repetition_that_fails_is_kept_and_the_search_ends(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 3}, confirm={"processes": 1})

    def run(spec: TrialSpec) -> TrialResult:
        result: TrialResult = lab.measure(spec)
        return fake_result(spec, Outcome.CRASHED) if spec.confirmation else result

    assert lab.search(plan, run).state is StudyState.FINISHED
    kept = [r.outcome for t in lab.trials() for r in t.confirmations.values()]
    assert set(kept) == {Outcome.CRASHED}


def test_resume_may_ask_for_more_repetitions(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 4}))
    more = lab.plan(*SMALL, budget={"trials": 4}, confirm={"processes": 1, "points": "picks"})
    lab.search(more, resume=True)
    assert any(t.confirmations for t in lab.trials())
    assert len(lab.trials()) == 4


def with_tasks(plan: Any) -> Any:
    task = TaskFile(name="t", path="/nowhere/t.csv", kind="labelled", identity="3" * 64)
    workload = plan.workload.model_copy(update={"tasks": (task,)})
    return dataclasses.replace(plan, workload=workload)


def judging(lab: Any, fails: bool = False) -> Any:
    """Runs trials as the lab does, and tasks with the same made-up counts for all."""

    def run(spec: TrialSpec) -> TrialResult:
        if not spec.tasks_only:
            result: TrialResult = lab.measure(spec)
            return result
        lab.specs.append(spec)
        if fails:
            return fake_result(spec, Outcome.CRASHED)
        changed = {"gained": 1, "lost": 2} if spec.recipe else {}
        score = TaskScore(name="t", n=10, correct=5, **changed)
        return TrialResult(number=spec.number, outcome=Outcome.OK, tasks=(score,))

    return run


def test_tasks_run_once_for_each_output_the_baseline_first(lab: Any) -> None:
    plan = with_tasks(lab.plan("quantize", "batch", budget={"trials": 9}))
    lab.search(plan, judging(lab))
    runs = [spec for spec in lab.specs if spec.tasks_only]
    assert not runs[0].recipe
    keys = [spec.output_key for spec in runs]
    assert len(keys) == len(set(keys)) > 1
    judged = [t for t in lab.trials() if TASK_RUN in t.confirmations]
    assert {t.output_key for t in judged} == set(keys)
    assert len(judged) > len(keys), "recipes with the same output share a run"
    assert all(t.confirmations[TASK_RUN].number == t.number for t in judged)
    assert all(not spec.constraints for spec in runs)

    lab.specs.clear()
    lab.search(plan, judging(lab), resume=True)
    assert lab.specs == [], "nothing is run twice"


def test_no_pairs_without_the_baselines_tasks(lab: Any) -> None:
    plan = with_tasks(lab.plan("quantize", "batch", budget={"trials": 6}))
    assert lab.search(plan, judging(lab, fails=True)).state is StudyState.FINISHED
    assert [spec.number for spec in lab.specs if spec.tasks_only] == [0]
    assert not any(TASK_RUN in t.confirmations for t in lab.trials())
    lab.specs.clear()
    lab.search(plan, judging(lab), resume=True)
    runs = [spec.number for spec in lab.specs if spec.tasks_only]
    assert runs[0] == 0
    assert len(runs) > 1, "a run that failed is tried again"


def test_tasks_that_were_interrupted_go_on(lab: Any) -> None:
    plan = with_tasks(lab.plan("quantize", "batch", budget={"trials": 9}))
    run = judging(lab)

    def interrupted(spec: TrialSpec) -> TrialResult:
        if spec.tasks_only and spec.recipe:
            raise KeyboardInterrupt
        result: TrialResult = run(spec)
        return result

    with pytest.raises(Interrupted):
        lab.search(plan, interrupted)
    assert lab.study().state is StudyState.INTERRUPTED
    lab.specs.clear()
    lab.search(plan, run, resume=True)
    assert lab.specs
    assert all(spec.tasks_only and spec.recipe for spec in lab.specs)

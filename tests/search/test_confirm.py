"""Repetitions in fresh processes, once the search is over."""

from __future__ import annotations

from typing import Any

import pytest

from autotune.errors import Interrupted
from autotune.messages import TrialResult, TrialSpec
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

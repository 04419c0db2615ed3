"""What happened between two looks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from autotune.outcome import Outcome
from autotune.report.events import events, line
from autotune.store.records import StudyState, TrialState
from autotune.store.watch import Look, SeenPhase, SeenTrial

BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
LATER = BEGUN + timedelta(seconds=10)


def trial(number: int, outcome: Outcome | None) -> SeenTrial:
    return SeenTrial(
        number=number,
        state=TrialState.FINISHED if outcome else TrialState.RUNNING,
        recipe={"batch": {"size": 4}} if number else {},
        outcome=outcome,
        explanation="no memory\nat all" if outcome else None,
        attempts=1,
        started_at=BEGUN,
        finished_at=LATER if outcome else None,
    )


def look(*trials: SeenTrial, **changes: Any) -> Look:
    given: dict[str, Any] = {
        "name": "s",
        "state": StudyState.RUNNING,
        "convergence_reason": "",
        "created_at": BEGUN,
        "updated_at": BEGUN,
        "trials": trials,
        "repetitions": 0,
        "phases": (),
    }
    return Look(**{**given, **changes})


def phase(number: int, when: datetime) -> SeenPhase:
    return SeenPhase(number=number, phase="measure", detail="pair 2", updated_at=when)


def lines(before: Look | None, after: Look) -> list[str]:
    return [line(event) for event in events(before, after)]


def test_first_look_tells_everything_and_the_same_look_nothing() -> None:
    now = look(trial(0, Outcome.OK), trial(1, None), phases=(phase(1, LATER),))
    assert lines(None, now) == [
        "study running",
        "#0 baseline: ok",
        "#1 batch size=4: running",
        "#1 is being measured (pair 2)",
    ]
    assert lines(now, now) == []


def test_what_changed_is_told() -> None:
    before = look(trial(0, Outcome.OK), trial(1, None))
    after = look(
        trial(0, Outcome.OK),
        trial(1, Outcome.OUT_OF_MEMORY),
        state=StudyState.FINISHED,
        convergence_reason="budget: 2 trials",
        repetitions=3,
    )
    assert lines(before, after) == [
        "study finished: budget: 2 trials",
        "#1 batch size=4: out_of_memory: no memory",
        "3 repetitions in fresh processes are stored",
    ]


def test_repetition_says_what_it_does_and_a_finished_trial_no_more() -> None:
    done = trial(0, Outcome.OK)
    assert lines(look(done), look(done, phases=(phase(0, BEGUN),))) == []
    later = LATER + timedelta(seconds=1)
    assert lines(look(done), look(done, phases=(phase(0, later),))) == [
        "#0 is being measured (pair 2)"
    ]

"""When the front does not grow any more."""

from __future__ import annotations

from datetime import UTC, datetime

from autotune.outcome import Outcome
from autotune.search.patience import Patience
from autotune.store.records import TrialRecord, TrialState
from autotune.testing import fake_result, fake_spec

SPEED, WEIGHTS = "output_tokens_per_second", "weights_bytes"


def trial(number: int, speed: float, outcome: Outcome = Outcome.OK) -> TrialRecord:
    recipe = {"batch": {"size": number}} if number else {}
    spec = fake_spec(number, recipe)
    return TrialRecord(
        study="s",
        number=number,
        state=TrialState.FINISHED,
        recipe=spec.recipe,
        recipe_key=spec.recipe_key,
        setup_key=spec.setup_key,
        output_key=spec.output_key,
        attempts=1,
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        result=fake_result(spec, outcome, output_tokens_per_second=speed, weights_bytes=1e6),
    )


def after(*speeds: float, trials: int = 2, ratio: float = 0.01) -> Patience:
    patience = Patience(trials, ratio, (SPEED, WEIGHTS), ())
    for number, speed in enumerate(speeds):
        patience.add(trial(number, speed))
    return patience


def test_it_waits_for_as_many_trials_as_it_is_given() -> None:
    assert after(100, 100).reason == ""
    assert after(100, 100, 100).reason != ""


def test_growth_within_the_last_trials_lets_the_search_go_on() -> None:
    assert after(100, 100, 200).reason == ""
    assert after(100, 100, 200, 100).reason == ""
    assert after(100, 100, 200, 100, 100).reason != ""


def test_growth_by_no_more_than_the_share_does_not_count() -> None:
    # On the scale, 100 is ln 8 of ln 512; 102 is 0.95 % above it.
    assert after(100, 100, 102, ratio=0.009).reason == ""
    assert after(100, 100, 102, ratio=0.01).reason != ""


def test_reason_gives_the_numbers() -> None:
    # Tokens/s at a third of their scale times weights at two fifths of theirs.
    assert after(100, 90, 80).reason == (
        "patience: the hypervolume went from 0.0952 to 0.0952 in the last 2 trials, "
        "no more than 1 % up"
    )


def test_failed_and_infeasible_trials_let_nothing_grow() -> None:
    patience = after(100)
    patience.add(trial(1, 900, Outcome.INFEASIBLE))
    assert patience.reason == ""
    patience.add(trial(2, 0, Outcome.CRASHED))
    assert patience.reason != ""

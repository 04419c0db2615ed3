"""The store on real SQLite files and a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import event

from autotune.errors import InputError, StoreError
from autotune.messages import (
    BlockPair,
    Grade,
    Measurement,
    Metrics,
    RecipeDict,
    TrialResult,
)
from autotune.outcome import Outcome
from autotune.recipe import RecipeKeys
from autotune.store import Store, StudyState, TrialState, trials
from autotune.store.accuracy import AccuracyKey

RECIPE: RecipeDict = {"quantize": {"scheme": "int8", "group": 32, "symmetric": True, "clip": 1.0}}


def keys(number: int) -> RecipeKeys:
    return RecipeKeys(output_key=f"o{number}", setup_key=f"s{number}", recipe_key=f"r{number}")


def result(number: int, outcome: Outcome = Outcome.OK) -> TrialResult:
    speed = Measurement(
        value=812.5,
        unit="1/s",
        stat="median_ratio",
        ci_low=800.0,
        ci_high=830.0,
        n=8,
        source="blocks",
        converged=False,
        ratio=1.9,
        ratio_ci_low=1.8,
        ratio_ci_high=2.0,
    )
    energy = Measurement(value=None, unit="J", reason="no counter here")
    pair = BlockPair(candidate={"t": 1.5}, reference={"t": 3.0}, candidate_first=True)
    return TrialResult(
        number=number,
        outcome=outcome,
        explanation="as asked",
        metrics={"output_tokens_per_second": speed, "energy_per_output_token_joules": energy},
        blocks=(pair, pair),
        phase_seconds={"prepare": 1.25},
        notes=("a note",),
        fallbacks=("asked for dtype bfloat16, ran float32: all of it",),
        warm=True,
        accuracy_reused=True,
        log="trial.log",
        environment={"torch": "2.13"},
    )


def scored(number: int, accuracy: Metrics) -> TrialResult:
    return result(number).model_copy(update={"metrics": accuracy, "accuracy_reused": False})


@pytest.fixture
def url(database: str) -> str:
    return database


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    with Store.open(url) as opened:
        yield opened


def create(store: Store, name: str = "first") -> None:
    store.create_study(
        name, {"model": "demo"}, ["output_tokens_per_second"], ["kld_mean_nats<=0.05"], {"os": "x"}
    )


def test_create_study_is_found_again_after_reopening(url: str) -> None:
    with Store.open(url) as store:
        create(store)
    with Store.open_existing(url) as store:
        study = store.study("first")
        assert store.studies() == [study]
    assert study.definition == {"model": "demo"}
    assert study.constraints == ("kld_mean_nats<=0.05",)
    assert study.state is StudyState.RUNNING
    assert study.created_at.utcoffset() == timedelta(0)


def test_create_study_refuses_a_taken_name(store: Store) -> None:
    create(store)
    with pytest.raises(InputError, match="'first' exists; go on with --resume"):
        create(store)


def test_study_names_the_nearest(store: Store) -> None:
    create(store)
    assert store.find_study("fist") is None
    with pytest.raises(InputError, match="did you mean 'first'"):
        store.study("fist")


def test_update_study_changes_only_what_is_given(store: Store) -> None:
    create(store)
    store.update_study("first", state=StudyState.FINISHED, notes=["energy dropped"])
    store.update_study("first", convergence_reason="budget", objectives=[])
    study = store.study("first")
    assert (study.state, study.notes) == (StudyState.FINISHED, ("energy dropped",))
    assert (study.convergence_reason, study.objectives) == ("budget", ())
    assert study.updated_at > study.created_at


def test_finish_trial_keeps_every_field(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    running = store.trial("first", 0)
    assert (running.state, running.result) == (TrialState.RUNNING, None)
    assert store.finish_trial("first", result(0))
    trial = store.trial("first", 0)
    assert trial.result == result(0)
    assert trial.recipe == RECIPE
    assert type(trial.recipe["quantize"]["symmetric"]) is bool
    assert type(trial.recipe["quantize"]["clip"]) is float
    assert trial.finished_at is not None
    assert trial.finished_at >= trial.started_at


def test_finish_trial_again_changes_nothing(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    assert store.finish_trial("first", result(0))
    assert not store.finish_trial("first", result(0, Outcome.CRASHED))
    assert store.trial("first", 0).result == result(0)


def test_finish_trial_cleans_what_databases_refuse(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    dirty = TrialResult(
        number=0,
        outcome=Outcome.CRASHED,
        explanation="a\0b \udcff",
        metrics={"ttft_seconds": Measurement(value=float("nan"), unit="s")},
        blocks=(
            BlockPair(candidate={"t": float("inf")}, reference={"t": 1.0}, candidate_first=True),
        ),
    )
    assert store.finish_trial("first", dirty)
    stored = store.trial("first", 0).result
    assert stored is not None
    assert stored.explanation == "a\N{REPLACEMENT CHARACTER}b ?"
    assert stored.metrics["ttft_seconds"].value is None
    assert stored.blocks[0].candidate == {}


def test_blocks_are_left_out_of_trials_that_were_not_repeated(store: Store) -> None:
    create(store)
    for number in (0, 1):
        store.start_trial("first", number, RECIPE if number else {}, keys(number))
        store.finish_trial("first", result(number))
    store.confirm_trial("first", 1, result(0))
    whole, short = store.trials("first"), store.trials("first", blocks=False)
    assert [len(t.result.blocks) for t in whole if t.result] == [2, 2]
    assert [len(t.result.blocks) for t in short if t.result] == [2, 0], "those are pooled"
    assert short[0] == whole[0]
    assert store.trial("first", 1) == whole[1]


def test_finished_trials_come_in_columns_the_baseline_first(store: Store) -> None:
    create(store)
    timed, energy = "output_tokens_per_second", "energy_per_output_token_joules"
    for number, recipe in enumerate((RECIPE, {}, RECIPE, RECIPE)):
        store.start_trial("first", number, recipe, keys(number))
    own = result(0).metrics[timed].model_copy(update={"ci_low": None, "grade": Grade.C})
    store.finish_trial("first", result(2, Outcome.CRASHED))
    store.finish_trial("first", result(0).model_copy(update={"metrics": {timed: own}}))
    store.finish_trial("first", result(1).model_copy(update={"fallbacks": ()}))
    store.confirm_trial("first", 1, result(2))
    found = store.finished_trials("first", (timed, energy, "weights_bytes"))
    assert (found.numbers, found.recipes) == ((1, 2, 0), [{}, RECIPE, RECIPE])
    assert found.outcomes == [Outcome.OK, Outcome.CRASHED, Outcome.OK]
    assert found.phase_seconds == [{"prepare": 1.25}] * 3
    assert [bool(words) for words in found.fallbacks] == [False, True, True]
    assert (found.warm, found.repeated) == ((True,) * 3, {2})
    wanted = ([812.5] * 3, [800.0, 800.0, 812.5], [830.0] * 3, [False, False, True])
    assert found.metrics[timed] == wanted
    assert found.metrics[energy].value == found.metrics["weights_bytes"].high == [None] * 3
    assert [t.number for t in store.running_trials("first")] == [3]
    assert [t.number for t in store.trials("first", only=(3, 0, 9))] == [0, 3]


def test_finish_trial_never_started_is_an_error(store: Store) -> None:
    create(store)
    with pytest.raises(StoreError, match="never started trial 7"):
        store.finish_trial("first", result(7))


def test_start_trial_again_counts_attempts_until_finished(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    store.start_trial("first", 0, RECIPE, keys(0))
    assert store.trial("first", 0).attempts == 2
    store.finish_trial("first", result(0))
    store.start_trial("first", 0, RECIPE, keys(0))
    trial = store.trial("first", 0)
    assert (trial.attempts, trial.state) == (2, TrialState.FINISHED)


def test_start_trial_refuses_a_recipe_twice(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    with pytest.raises(StoreError, match="recipe of an earlier trial"):
        store.start_trial("first", 1, RECIPE, keys(0))
    with pytest.raises(StoreError, match="has another recipe"):
        store.start_trial("first", 0, {}, keys(1))


def test_trial_unknown_number_is_an_input_error(store: Store) -> None:
    create(store)
    with pytest.raises(InputError, match="no trial 3"):
        store.trial("first", 3)


def test_accuracy_is_kept_once_and_reused(store: Store) -> None:
    key = AccuracyKey("model", "output", "evaluation", "environment")
    first = {"kld_mean_nats": Measurement(value=0.003, unit="nat", ci_low=0.0, ci_high=0.006)}
    other = {"kld_mean_nats": Measurement(value=9.0, unit="nat")}
    assert store.known_accuracy(key) is None
    create(store)
    for number, found in enumerate((first, other, {})):
        store.start_trial("first", number, RECIPE, keys(number))
        assert store.finish_trial("first", scored(number, found), key)
    assert store.known_accuracy(key) == first
    assert store.known_accuracy(AccuracyKey("model", "other", "evaluation", "environment")) is None


def test_delete_study_takes_its_trials_and_leaves_accuracy(store: Store) -> None:
    create(store)
    store.start_trial("first", 0, RECIPE, keys(0))
    known = {"kld_mean_nats": Measurement(value=0.5, unit="nat")}
    key = AccuracyKey("m", "o", "e", "v")
    store.finish_trial("first", scored(0, known), key)
    store.delete_study("first")
    assert store.studies() == []
    assert store.known_accuracy(key) == known
    create(store)
    assert store.trials("first") == []


def test_outcome_counts_of_all_studies(store: Store) -> None:
    create(store)
    create(store, "empty")
    for number in range(3):
        store.start_trial("first", number, RECIPE, keys(number))
    store.finish_trial("first", result(0))
    store.finish_trial("first", result(1, Outcome.TIMEOUT))
    assert store.outcome_counts() == {
        "first": {"ok": 1, "timeout": 1, "running": 1},
        "empty": {},
    }


def test_trials_reads_hundreds_in_a_few_queries(store: Store) -> None:
    create(store)
    with store._write() as session:
        for number in range(300):
            trials.start(session, "first", number, RECIPE, keys(number))
            trials.finish(session, "first", result(number))
    queries: list[str] = []
    event.listen(
        store._engine, "before_cursor_execute", lambda *args: queries.append(str(args[2]))
    )
    found = store.trials("first")
    assert [trial.number for trial in found] == list(range(300))
    assert all(trial.result == result(trial.number) for trial in found)
    assert len([query for query in queries if query.startswith("SELECT")]) == 5

"""Why trials failed: counted by reason, and what is in them more often than by chance."""

from __future__ import annotations

import known_study as known
from autotune.explain import explain
from autotune.explain.failures import group_failures, suspects
from autotune.messages import RecipeDict
from autotune.outcome import Outcome
from autotune.store.records import TrialRecord

OOM, CRASHED = Outcome.OUT_OF_MEMORY, Outcome.CRASHED


def failed(number: int, recipe: RecipeDict, outcome: Outcome, why: str) -> TrialRecord:
    return known.trial(number, recipe, None, outcome, why)


def mixed() -> list[TrialRecord]:
    """Twenty trials; whichever has the engine vllm fails, and one other by chance."""
    trials = known.random_study(20)
    for number in (20, 21, 22, 23):
        recipe: RecipeDict = {"engine": {"backend": "vllm"}, "batch": {"size": 2 * number}}
        why = f"needed {number}.5 GiB more\nTraceback"
        trials.append(failed(number, recipe, OOM, why))
    trials.append(failed(24, {"compile": {"on": True}}, CRASHED, "\n  SIGSEGV in prepare\n"))
    return trials


def test_failures_are_grouped_whatever_the_numbers_in_their_reasons() -> None:
    first, second = group_failures(mixed())
    assert (first.outcome, first.reason) == (OOM, "needed 20.5 GiB more")
    assert first.trials == (20, 21, 22, 23)
    assert (second.outcome, second.reason, second.trials) == (CRASHED, "SIGSEGV in prepare", (24,))


def test_choice_that_always_fails_is_a_suspect_and_others_are_not() -> None:
    (found,) = suspects(mixed())
    # Its only value is in the same trials: told once.
    assert found.choice.words == "engine"
    assert (found.failed, found.tried, found.failed_without, found.tried_without) == (4, 4, 1, 21)
    assert found.p_value < 0.01


def test_value_is_suspected_where_its_plugin_is_not() -> None:
    trials: list[TrialRecord] = []
    for number in range(24):
        size = (2, 4, 8)[number % 3]
        recipe: RecipeDict = {"batch": {"size": size}}
        bad = failed(number, recipe, OOM, "no memory")
        trials.append(bad if size == 8 else known.timed(number, recipe))
    assert [s.choice.words for s in suspects(trials)] == ["batch.size=8"]


def test_few_failures_prove_nothing() -> None:
    trials = [*known.random_study(20), failed(20, {"engine": {"backend": "x"}}, CRASHED, "why")]
    assert suspects(trials) == ()
    assert (
        "1 trial of 21 failed, with no choice surely more often"
        in explain(known.study(), trials).answer[-2]
    )


def test_nothing_is_suspected_where_all_or_none_failed() -> None:
    assert suspects(known.random_study(20)) == ()
    assert suspects([failed(n, {"a": {"b": n}}, OOM, "why") for n in range(9)]) == ()


def test_failures_disturb_no_effect() -> None:
    whole, sound = explain(known.study(), mixed()), explain(known.study(), mixed()[:20])
    assert whole.effects == sound.effects
    told = next(sentence for sentence in whole.answer if "failed" in sentence)
    assert told == (
        "5 trials of 25 failed, more often with engine (4 of 4 failed, 1 of 21 without it); "
        "4 by out of memory."
    )


def test_trial_that_runs_is_neither_failed_nor_measured() -> None:
    running = known.timed(20, {"compile": {"on": True}}).model_copy(update={"result": None})
    found = explain(known.study(), [*known.random_study(20), running])
    assert (found.ending.trials, found.ending.finished) == (21, 20)
    assert found.failures == ()

"""Constraints: what they exclude, the nearest miss, and why a search ended."""

from __future__ import annotations

import known_study as known
from autotune.explain import explain
from autotune.messages import RecipeDict
from autotune.outcome import Outcome
from autotune.store.records import StudyState, TrialRecord

SPEED_LIMIT, WEIGHTS_LIMIT = "output_tokens_per_second>=150", "weights_bytes<=200000"
RECIPES: tuple[RecipeDict, ...] = (
    {},
    {"quantize": {"scheme": "int8"}},
    {"quantize": {"scheme": "int4"}},
    {"batch": {"size": 4}},
)


def infeasible() -> list[TrialRecord]:
    """No weights are under 200 kB; int4 has 300 kB."""
    timed = [known.timed(n, recipe).result for n, recipe in enumerate(RECIPES)]
    return [
        known.trial(n, RECIPES[n], result.metrics, Outcome.INFEASIBLE)
        for n, result in enumerate(timed)
        if result
    ]


def test_nearest_miss_is_the_smallest_of_the_worst_violations() -> None:
    found = explain(known.study([SPEED_LIMIT, WEIGHTS_LIMIT]), infeasible())
    assert found.feasible == 0
    miss = found.nearest_miss
    assert miss is not None
    assert miss.number == 2
    told = {b.constraint: b for b in miss.broken}
    assert told[WEIGHTS_LIMIT].value == 300000
    assert told[WEIGHTS_LIMIT].excess == 0.5
    assert set(told) == {SPEED_LIMIT, WEIGHTS_LIMIT}


def test_each_constraint_says_how_many_it_excludes_and_how_many_alone() -> None:
    found = explain(known.study([SPEED_LIMIT, WEIGHTS_LIMIT]), infeasible())
    rows = [(e.constraint, e.excluded, e.alone) for e in found.exclusions]
    # Batches of 4 are fast enough.
    assert rows == [(WEIGHTS_LIMIT, 4, 1), (SPEED_LIMIT, 3, 0)]


def test_answer_says_which_constraint_excludes_most_and_by_how_much_the_nearest_misses() -> None:
    found = explain(known.study([WEIGHTS_LIMIT]), infeasible())
    told = next(s for s in found.answer if s.startswith("No trial keeps"))
    assert told == (
        "No trial keeps every constraint: weights_bytes<=200000 excludes 4 of 4; nearest "
        "comes #2 (quantize int4): weights_bytes<=200000 is missed by 50 %, its interval ends at "
        "300,000."
    )


def test_miss_of_a_bound_of_zero_is_not_told_in_per_cent() -> None:
    trials = infeasible()
    found = explain(known.study(["kld_mean_nats<=0"]), trials[1:3])
    assert "kld_mean_nats<=0 is missed by 0.0220, its interval ends at 0.0220" in found.answer[-2]


def test_what_was_not_measured_any_more_breaks_nothing_and_is_named() -> None:
    trials = infeasible()
    stopped = trials[2].result
    assert stopped is not None
    kept = {name: m for name, m in stopped.metrics.items() if name != known.SPEED}
    early = stopped.model_copy(update={"metrics": kept})
    trials[2] = trials[2].model_copy(update={"result": early})
    found = explain(known.study([SPEED_LIMIT, WEIGHTS_LIMIT]), trials)
    assert found.nearest_miss is not None
    assert found.nearest_miss.number == 2
    assert found.nearest_miss.not_measured == (SPEED_LIMIT,)
    assert {e.constraint: e.not_measured for e in found.exclusions}[SPEED_LIMIT] == 1


def test_no_miss_where_a_trial_is_feasible() -> None:
    found = explain(known.study(["weights_bytes<=2000000"]), known.random_study(10))
    assert (found.feasible, found.nearest_miss) == (10, None)
    assert found.exclusions[0].excluded == 0


def test_ending_counts_time_without_the_wait_for_the_device() -> None:
    trials = known.random_study(4)
    again = trials[1].result
    assert again is not None
    trials[1] = trials[1].model_copy(update={"confirmations": {0: again, 1: again, 2: again}})
    ending = explain(known.study(), trials).ending
    assert (ending.trials, ending.trial_seconds) == (4, 120)
    # Number 0 is the run of the tasks.
    assert (ending.repetitions, ending.repetition_seconds) == (2, 60)


def test_answer_ends_with_why_the_search_stopped() -> None:
    trials = known.random_study(4)
    assert explain(known.study(), trials).answer[-1] == (
        "The search stopped: budget: 40 trials; 4 trials took 2 min."
    )
    running = known.study(state=StudyState.RUNNING, convergence_reason="")
    assert explain(running, trials).answer[-1] == "It is running; 4 trials took 2 min."

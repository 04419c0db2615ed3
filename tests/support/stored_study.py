"""Made-up trials written to a real database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autotune.recipe import Recipe, RecipeKeys
from autotune.report.summary import StudySummary
from autotune.store.records import StudyState, TrialRecord
from autotune.store.store import Store


def store_study(
    url: str,
    name: str,
    trials: Iterable[TrialRecord],
    objectives: Sequence[str],
    *,
    constraints: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    definition: Mapping[str, Any] | None = None,
    reason: str = "budget: 25 trials",
) -> StudySummary:
    """Stores a finished study as a search does; of trials of one recipe, the first.

    Returns:
        Its summary, read again.
    """
    seen: set[str] = set()
    keys = dict(definition or {"model": "m", "budget": {"trials": 25}})
    with Store.open(url) as store:
        store.create_study(name, keys, objectives, constraints, dict(environment or {}))
        for trial in trials:
            key = Recipe.from_dict(trial.recipe).key
            if key not in seen:
                seen.add(key)
                _store(store, name, trial, key)
        store.update_study(name, state=StudyState.FINISHED, convergence_reason=reason)
        return StudySummary.of(store.study(name), store.trials(name))


def _store(store: Store, study: str, trial: TrialRecord, key: str) -> None:
    store.start_trial(study, trial.number, trial.recipe, RecipeKeys("output", "setup", key))
    assert trial.result is not None
    store.finish_trial(study, trial.result)
    for number, result in trial.confirmations.items():
        store.confirm_trial(study, number, result)

"""Finds the study of the same database that tells most of one that begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from autotune.environment import ENV_ID
from autotune.recipe import Recipe
from autotune.search.observation import Observation
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.transfer import LEAST_TRIALS
from autotune.store.records import StudyRecord
from autotune.store.store import Store

_MOST_TRIALS = 2000
"""A longer one takes longer to read than it would save."""


@dataclass(frozen=True)
class Earlier:
    """A study of the same database whose trials tell something of this one."""

    name: str = ""
    observations: tuple[tuple[int, Observation], ...] = ()
    """Places in this study's pool, and what came of the recipes."""

    @property
    def note(self) -> str:
        """What a person should know; empty if there is none."""
        if not self.observations:
            return ""
        return (
            f"begins with what {len(self.observations)} trials of the study {self.name!r} let "
            "expect; --no-warm-start searches without"
        )


def find_earlier(plan: Plan, store: Store, code: PoolCode) -> Earlier:
    """The most similar study that has tried enough of this pool's recipes: of the same model
    rather than of another one, then in the same environment, then the latest.

    Args:
        plan: The study that is to begin.
        store: Its database.
        code: Its pool.
    """
    definition = plan.definition()
    counts = store.outcome_counts()
    others = [
        study
        for study in store.studies()
        if study.name != plan.name
        and study.definition.get("task") == definition["task"]
        and LEAST_TRIALS <= sum(counts.get(study.name, {}).values()) <= _MOST_TRIALS
    ]
    for study in sorted(others, key=lambda s: _similarity(s, plan, definition), reverse=True):
        found = tuple(_observations(store, study, plan, code))
        if sum(not seen.failed for _, seen in found) >= LEAST_TRIALS:
            return Earlier(study.name, found)
    return Earlier()


def _similarity(
    study: StudyRecord, plan: Plan, definition: Mapping[str, Any]
) -> tuple[bool, bool, bool, datetime]:
    return (
        study.definition.get("model_files") == definition["model_files"],
        study.environment.get(ENV_ID) == plan.environment.get(ENV_ID),
        study.definition.get("workload") == definition["workload"],
        study.updated_at,
    )


def _observations(
    store: Store, study: StudyRecord, plan: Plan, code: PoolCode
) -> Iterator[tuple[int, Observation]]:
    for trial in store.trials(study.name, blocks=False):
        index = code.index(Recipe.from_dict(trial.recipe))
        if index is not None and trial.result is not None:
            yield index, Observation.of(trial.result, plan.constraints)

"""What a study does now, in words."""

from __future__ import annotations

from autotune.store.lock import is_run
from autotune.store.records import StudyRecord, StudyState

DEAD = "dead: its process ended without a word"


def state_words(url: str, study: StudyRecord) -> str:
    """Its state; ``DEAD`` where the database says that it runs and nobody runs it.

    Args:
        url: Of the study's database.
        study: As the database has it.
    """
    if study.state is StudyState.RUNNING and not is_run(url, study.name):
        return DEAD
    return study.state.value

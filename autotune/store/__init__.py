"""The database: tables, queries, migrations."""

from autotune.store.records import StudyRecord, StudyState, TrialRecord, TrialState
from autotune.store.store import Store

__all__ = ["Store", "StudyRecord", "StudyState", "TrialRecord", "TrialState"]

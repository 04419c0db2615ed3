"""Rows to records and results to rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row

from autotune.messages import BlockPair, Measurement, Metrics, TrialResult
from autotune.store.records import StudyRecord, TrialRecord, TrialState
from autotune.store.tables import StudyRow, TrialRow

Columns = dict[str, Any]

TRIAL_COLUMNS = TrialResult.model_fields.keys() - {"number", "metrics", "blocks", "tasks"}
"""What of a result is in its trial's row."""

MEASUREMENT_COLUMNS = tuple(Measurement.model_fields)
_OF_TRIAL = TrialRecord.model_fields.keys() - {"study", "result", "confirmations"}
_OF_RESULT = TRIAL_COLUMNS - {"fallbacks"} | {"number"}


def study_record(row: StudyRow) -> StudyRecord:
    """A study as its readers see it."""
    return StudyRecord(**{name: getattr(row, name) for name in StudyRecord.model_fields})


def trial_record(
    study: str,
    row: Mapping[str, Any],
    metrics: Metrics,
    blocks: list[Columns],
    confirmations: Mapping[int, Columns],
) -> TrialRecord:
    """A trial as its readers see it."""
    return TrialRecord(
        study=study,
        confirmations={n: TrialResult(**result) for n, result in confirmations.items()},
        result=_result(row, metrics, blocks) if row["state"] == TrialState.FINISHED else None,
        **{name: row[name] for name in _OF_TRIAL},
    )


def begun_record(study: str, row: TrialRow | Row[Any]) -> TrialRecord:
    """A trial without its result."""
    return TrialRecord(study=study, **{name: getattr(row, name) for name in _OF_TRIAL})


def finished_record(begun: TrialRecord, result: TrialResult) -> TrialRecord:
    """A trial with its result, as the database would give it back."""
    metrics = {n: Measurement(**_clean(m.model_dump())) for n, m in result.metrics.items()}
    as_stored = result.model_copy(update={"metrics": metrics})
    return begun.model_copy(update={"state": TrialState.FINISHED, "result": as_stored})


def _result(row: Mapping[str, Any], metrics: Metrics, blocks: list[Columns]) -> TrialResult:
    return TrialResult(
        metrics=metrics,
        blocks=tuple(BlockPair(**pair) for pair in blocks),
        fallbacks=tuple(row["fallbacks"] or ()),  # null: stored before there were any
        **{name: row[name] for name in _OF_RESULT},
    )


def measurement(columns: Iterable[Any]) -> Measurement:
    """A measurement as the meters gave it, from its ``MEASUREMENT_COLUMNS``."""
    return Measurement(**dict(zip(MEASUREMENT_COLUMNS, columns, strict=True)))


def trial_columns(result: TrialResult) -> Columns:
    """The columns of a result's trial; a run of the tasks is a confirmation, never a trial."""
    columns = result.model_dump(mode="json", include=TRIAL_COLUMNS)
    return {**_clean(columns), "phase_seconds": _finite(result.phase_seconds)}


def confirmation_json(result: TrialResult) -> Columns:
    """A whole result as plain data."""
    columns: Columns = _clean(result.model_dump(mode="json"))
    return columns


def measurement_columns(trial_id: int, metrics: Metrics) -> list[Columns]:
    """The columns of a result's measurements, one row per metric."""
    return [
        {"trial_id": trial_id, "metric": name, **_clean(value.model_dump())}
        for name, value in metrics.items()
    ]


def block_columns(pairs: tuple[BlockPair, ...]) -> list[Columns]:
    """The block pairs as plain data."""
    return [
        {
            "candidate": _finite(pair.candidate),
            "reference": _finite(pair.reference),
            "candidate_first": pair.candidate_first,
        }
        for pair in pairs
    ]


def accuracy_json(metrics: Metrics) -> Columns:
    """Measurements as plain data."""
    return {name: _clean(value.model_dump()) for name, value in metrics.items()}


def accuracy_metrics(data: Mapping[str, Any]) -> Metrics:
    """The reverse of ``accuracy_json``."""
    return {name: Measurement(**value) for name, value in data.items()}


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


def _clean(data: Any) -> Any:
    """What every database can hold: text without NUL or half characters, finite numbers.

    A child's log may hold any bytes; PostgreSQL refuses them, and the result would be lost.
    """
    if isinstance(data, str):
        return data.replace("\0", "�").encode("utf-8", "replace").decode("utf-8")
    if isinstance(data, dict):
        return {name: _clean(value) for name, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_clean(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data

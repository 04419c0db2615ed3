"""Accuracy that is measured once and reused by every study."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from autotune.messages import Metrics
from autotune.store import rows
from autotune.store.database import insert_into
from autotune.store.tables import AccuracyRow, now, plain


@dataclass(frozen=True)
class AccuracyKey:
    """All that accuracy depends on."""

    model_fingerprint: str
    output_key: str
    evaluation_key: str
    environment_key: str


_ACCURACY = plain(AccuracyRow)
_FIND = select(_ACCURACY.c.metrics).where(
    *(_ACCURACY.c[field.name] == bindparam(field.name) for field in fields(AccuracyKey))
)


def find(session: Session, key: AccuracyKey) -> Metrics | None:
    """What was measured for this key."""
    data = session.scalar(_FIND, asdict(key))
    return None if data is None else rows.accuracy_metrics(data)


def add(session: Session, key: AccuracyKey, metrics: Metrics) -> None:
    """Keeps metrics; the first to come stays."""
    columns = {**asdict(key), "metrics": rows.accuracy_json(metrics), "created_at": now()}
    insert = insert_into(session.get_bind().dialect.name, _ACCURACY)
    session.execute(insert.values(**columns).on_conflict_do_nothing())

"""Queries about studies."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from sqlalchemy import Row, Table, bindparam, func, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningInsert

from autotune.errors import InputError, unknown_name
from autotune.hashing import sha256_json
from autotune.store.database import insert_into
from autotune.store.records import StudyState, TrialState
from autotune.store.tables import StudyRow, TrialRow, now, plain

_STUDIES = plain(StudyRow)


def study_row(session: Session, name: str) -> StudyRow:
    """The study of that name.

    Raises:
        InputError: There is none; says what there is.
    """
    row = session.scalar(select(StudyRow).where(StudyRow.name == name))
    if row is None:
        raise InputError(unknown_name("study", name, session.scalars(select(StudyRow.name))))
    return row


def study_id(session: Session, name: str) -> int:
    """The id of the study of that name, without its definition and all else that is long.

    Raises:
        InputError: There is none; says what there is.
    """
    found = session.scalar(select(StudyRow.id).where(StudyRow.name == name))
    return study_row(session, name).id if found is None else found


def add_new(
    session: Session, study: str, table: Table, columns: Mapping[str, Any], only: tuple[str, ...]
) -> Row[Any] | None:
    """Adds a row to a study, without looking first whether it has it: nearly always it has not.

    Args:
        session: An open session.
        study: Its name.
        table: One that has a ``study_id``.
        columns: All but the study and what may be null.
        only: The columns of which a study has each combination once.

    Returns:
        The row; None where it is there already, or there is no such study.
    """
    insert = _new_row(session.get_bind().dialect.name, table, tuple(columns), only)
    values = {f"new_{name}": value for name, value in columns.items()}
    return session.execute(insert, {"study": study, **values}).one_or_none()


@cache
def _new_row(
    dialect: str, table: Table, columns: tuple[str, ...], only: tuple[str, ...]
) -> ReturningInsert[Any]:
    values = [bindparam(f"new_{name}", type_=table.c[name].type) for name in columns]
    source = select(_STUDIES.c.id, *values).where(_STUDIES.c.name == bindparam("study"))
    insert = insert_into(dialect, table).from_select(["study_id", *columns], source)
    once = insert.on_conflict_do_nothing(index_elements=["study_id", *only])
    return once.returning(*table.c)


_TOUCH = (
    _STUDIES.update()
    .where(_STUDIES.c.id == bindparam("study"))
    .values(updated_at=bindparam("now", type_=_STUDIES.c.updated_at.type))
)


def touch(session: Session, study: int) -> None:
    """Notes that something of a study has changed."""
    session.execute(_TOUCH, {"study": study, "now": now()})


def outcome_counts(session: Session) -> dict[str, dict[str, int]]:
    """Study → outcome (or ``running``) → how many trials."""
    query = (
        select(StudyRow.name, TrialRow.outcome, func.count(TrialRow.id))
        .join(TrialRow, isouter=True)
        .group_by(StudyRow.name, TrialRow.outcome)
    )
    counts: dict[str, dict[str, int]] = {}
    for name, outcome, count in session.execute(query):
        study = counts.setdefault(name, {})
        if count:
            study[outcome or TrialState.RUNNING.value] = count
    return counts


def new_study(
    name: str,
    definition: dict[str, Any],
    objectives: list[str],
    constraints: list[str],
    environment: dict[str, str],
) -> StudyRow:
    """A study that has just begun."""
    begun = now()
    return StudyRow(
        name=name,
        state=StudyState.RUNNING.value,
        definition=definition,
        definition_sha256=sha256_json(definition),
        objectives=objectives,
        constraints=constraints,
        environment=environment,
        notes=[],
        convergence_reason="",
        created_at=begun,
        updated_at=begun,
    )

"""Queries about studies."""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session

from autotune.errors import InputError, unknown_name
from autotune.hashing import sha256_json
from autotune.store.records import StudyState, TrialState
from autotune.store.tables import JobRow, StudyRow, TrialRow, now

_Row = TypeVar("_Row", TrialRow, JobRow)


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


def study_id_with(
    session: Session, name: str, kind: type[_Row], *only: ColumnElement[bool]
) -> tuple[int, _Row | None]:
    """The id of the study of that name, and one of its rows of another table, in one query.

    Args:
        session: An open session.
        name: Of the study.
        kind: The other table.
        *only: What tells the row from the study's others.

    Raises:
        InputError: There is no such study; says what there is.
    """
    own = and_(kind.study_id == StudyRow.id, *only)
    query = select(StudyRow.id, kind).outerjoin(kind, own).where(StudyRow.name == name)
    found = session.execute(query).one_or_none()
    return (study_row(session, name).id, None) if found is None else (found[0], found[1])


def touch(session: Session, study: int) -> None:
    """Notes that something of a study has changed."""
    session.execute(update(StudyRow).where(StudyRow.id == study).values(updated_at=now()))


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

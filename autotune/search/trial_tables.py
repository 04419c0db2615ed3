"""A trial in Optuna's tables, written within a transaction that also writes our own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Table, bindparam, func, literal, select
from sqlalchemy.orm import Session

from autotune.errors import StoreError
from autotune.store.database import add_rows

Attributes = Mapping[str, Any]


def _table(kind: Any) -> Table:
    found: Table = kind.__table__
    return found


_STUDIES, _TRIALS = _table(models.StudyModel), _table(models.TrialModel)
_PARAMS, _VALUES = _table(models.TrialParamModel), _table(models.TrialValueModel)
_USER_ATTRIBUTES = _table(models.TrialUserAttributeModel)
_SYSTEM_ATTRIBUTES = _table(models.TrialSystemAttributeModel)

# Built once: to put a statement together takes longer than to carry it out.
_HOLD = (
    select(_STUDIES.c.study_id).where(_STUDIES.c.study_id == bindparam("study")).with_for_update()
)
_LATEST = (  # numbers follow the ids; counting all trials would take longer with each of them
    select(_TRIALS.c.number)
    .where(_TRIALS.c.study_id == bindparam("study"))
    .order_by(_TRIALS.c.trial_id.desc())
    .limit(1)
    .scalar_subquery()
)
_NEXT = func.coalesce(_LATEST + 1, 0)
_OPEN = (
    _TRIALS.insert()
    .from_select(
        ["study_id", "number", "state", "datetime_start"],
        select(
            bindparam("study", type_=_TRIALS.c.study_id.type),
            _NEXT,
            literal(TrialState.RUNNING, _TRIALS.c.state.type),
            bindparam("now", type_=_TRIALS.c.datetime_start.type),
        ),
    )
    .returning(_TRIALS.c.trial_id, _TRIALS.c.number)
)
_STATE = select(_TRIALS.c.state).where(_TRIALS.c.trial_id == bindparam("trial"))
_NUMBERED = select(_TRIALS.c.trial_id).where(
    _TRIALS.c.study_id == bindparam("study"), _TRIALS.c.number == bindparam("number")
)
_RUNNING = select(_TRIALS.c.number, _TRIALS.c.trial_id).where(
    _TRIALS.c.study_id == bindparam("study"), _TRIALS.c.state == TrialState.RUNNING
)
_RANGES = (
    select(_VALUES.c.objective, func.min(_VALUES.c.value), func.max(_VALUES.c.value))
    .join(_TRIALS)
    .where(_TRIALS.c.study_id == bindparam("study"), _TRIALS.c.state == TrialState.COMPLETE)
    .group_by(_VALUES.c.objective)
)
_COMPLETE = (  # the update itself decides between two processes: only one finds it running
    _TRIALS.update()
    .where(
        _TRIALS.c.trial_id == bindparam("trial"),
        _TRIALS.c.state.in_((TrialState.RUNNING, TrialState.WAITING)),
    )
    .values(state=TrialState.COMPLETE, datetime_complete=bindparam("now"))
)

# ``Study.ask`` and ``Study.tell`` write each param and each attribute by itself: thirty
# transactions for one trial, and a process may die between any two of them. What is written here
# is what they would have written; Optuna and its dashboard read it as their own. Reading has its
# price too: ``Study.get_trials`` makes objects of all trials with all params, whichever are asked.


def next_number(session: Session, study: int) -> int:
    """The number that the study's next trial gets.

    Args:
        session: An open session.
        study: Its id in Optuna's tables.
    """
    return int(session.scalars(select(_NEXT), {"study": study}).one())


def find_trial(session: Session, study: int, number: int) -> int:
    """A trial's id in Optuna's tables; looks through all of the study.

    Args:
        session: An open session.
        study: Its id in Optuna's tables.
        number: Of the trial.

    Raises:
        StoreError: There is none of that number.
    """
    found = session.scalar(_NUMBERED, {"study": study, "number": number})
    return int(_there(found, f"trial {number}"))


def running_trials(session: Session, study: int) -> dict[int, int]:
    """The trials that run: their numbers, and their ids in Optuna's tables.

    Args:
        session: An open session.
        study: Its id in Optuna's tables.
    """
    return {number: trial for number, trial in session.execute(_RUNNING, {"study": study})}


def value_ranges(session: Session, study: int) -> list[tuple[float, float]]:
    """The smallest and the largest value that complete trials have of each objective; empty while
    there is none.

    Args:
        session: An open session.
        study: Its id in Optuna's tables.
    """
    found = {k: (low, high) for k, low, high in session.execute(_RANGES, {"study": study})}
    return [found[k] for k in sorted(found)]


def open_trial(
    session: Session,
    study: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    user_attributes: Attributes,
) -> tuple[int, int]:
    """Adds a running trial, complete with its params.

    Args:
        session: An open session.
        study: Its id in Optuna's tables.
        params: Name → value.
        distributions: Of each param.
        user_attributes: Of the trial.

    Returns:
        Its id in the tables and its number in the study.

    Raises:
        StoreError: The study is not there any more.
    """
    # Held until the end, as Optuna does: two processes would count the same number.
    _there(session.scalar(_HOLD, {"study": study}), "the study")
    trial, number = session.execute(_OPEN, {"study": study, "now": _utc()}).one()
    add_rows(session, _PARAMS, _param_rows(trial, params, distributions))
    _add_attributes(session, _USER_ATTRIBUTES, trial, user_attributes)
    return trial, number


def close_trial(
    session: Session,
    trial: int,
    values: Sequence[float],
    user_attributes: Attributes,
    notes: FrozenTrial,
) -> bool:
    """Makes a running trial a complete one.

    Args:
        session: An open session.
        trial: Its id in the tables.
        values: Of the objectives.
        user_attributes: To be added; one that is there already stays.
        notes: A trial whose constraints it gets; one that is there already stays.

    Returns:
        False if it is finished; nothing changes then.

    Raises:
        StoreError: The trial is not there any more.
    """
    closed: Any = session.execute(_COMPLETE, {"trial": trial, "now": _utc()})
    if closed.rowcount == 0:
        _there(session.scalar(_STATE, {"trial": trial}), "a running trial")
        return False
    _add_attributes(session, _USER_ATTRIBUTES, trial, user_attributes)
    _add_attributes(session, _SYSTEM_ATTRIBUTES, trial, notes.system_attrs)
    rows = [_value_row(trial, i, value) for i, value in enumerate(values)]
    add_rows(session, _VALUES, rows, keep=True)
    return True


def _there(found: Any, what: str) -> Any:
    if found is None:
        raise StoreError(
            f"{what} is missing in Optuna's tables: another program has deleted it; search again "
            "under another --name"
        )
    return found


def _param_rows(
    trial: int, params: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]
) -> list[dict[str, Any]]:
    return [
        {
            "trial_id": trial,
            "param_name": name,
            "param_value": distribution.to_internal_repr(params[name]),
            "distribution_json": distribution_to_json(distribution),
        }
        for name, distribution in distributions.items()
    ]


def _add_attributes(session: Session, table: Table, trial: int, attributes: Attributes) -> None:
    rows = [
        {"trial_id": trial, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    add_rows(session, table, rows, keep=True)


def _value_row(trial: int, objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial, "objective": objective, "value": stored, "value_type": kind}


def _utc() -> datetime:
    """This moment, as Optuna keeps times."""
    return datetime.now(UTC).replace(tzinfo=None)

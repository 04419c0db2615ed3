"""Optuna's tables, with a whole trial in one transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState

from autotune.store.database import insert_into

Attributes = Mapping[str, Any]


class TrialTables(RDBStorage):
    """Optuna's storage, and two ways of writing a trial that its own interface does not have.

    ``Study.ask`` and ``Study.tell`` write each param and each attribute by itself: thirty
    transactions for one trial, and a process may die between any two of them. What is written here
    is what they would have written; Optuna and its dashboard read it as their own.
    """

    def open_trial(
        self,
        study: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        user_attributes: Attributes,
    ) -> tuple[int, int]:
        """Adds a running trial, complete with its params.

        Returns:
            Its id in the tables and its number in the study.
        """
        with _create_scoped_session(self.scoped_session) as session:
            # Held until the end: two processes would count the same number.
            models.StudyModel.find_or_raise_by_id(study, session, for_update=True)
            number = _next_number(session, study)
            identity = _open(session, study, number)
            _add(session, models.TrialParamModel, _param_rows(identity, params, distributions))
            _add_attributes(session, models.TrialUserAttributeModel, identity, user_attributes)
        return identity, number

    def close_trial(
        self, trial: int, values: Sequence[float], user_attributes: Attributes, notes: FrozenTrial
    ) -> None:
        """Makes a running trial a complete one.

        Args:
            trial: Its id in the tables.
            values: Of the objectives.
            user_attributes: To be added; one that is there already stays.
            notes: A trial whose constraints it gets; one that is there already stays.

        Raises:
            UpdateFinishedTrialError: It is finished; nothing changes then.
        """
        with _create_scoped_session(self.scoped_session) as session:
            self._complete(session, trial)
            _add_attributes(session, models.TrialUserAttributeModel, trial, user_attributes)
            _add_attributes(session, models.TrialSystemAttributeModel, trial, notes.system_attrs)
            rows = [_value_row(trial, i, value) for i, value in enumerate(values)]
            _add(session, models.TrialValueModel, rows)

    def _complete(self, session: Any, trial: int) -> None:
        """The update itself decides between two processes: only one finds the trial running."""
        table: Any = models.TrialModel.__table__
        open_states = (TrialState.RUNNING, TrialState.WAITING)
        still_open = (table.c.trial_id == trial, table.c.state.in_(open_states))
        ended = {"state": TrialState.COMPLETE, "datetime_complete": _utc()}
        if session.execute(table.update().where(*still_open).values(ended)).rowcount == 0:
            row: Any = models.TrialModel.find_or_raise_by_id(trial, session)
            self.check_trial_is_updatable(trial, row.state)


def _open(session: Any, study: int, number: int) -> int:
    table: Any = models.TrialModel.__table__
    columns = {"study_id": study, "number": number, "state": TrialState.RUNNING}
    new = table.insert().values(**columns, datetime_start=_utc()).returning(table.c.trial_id)
    return int(session.scalar(new))


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


def _next_number(session: Any, study: int) -> int:
    """Numbers follow the ids; counting all trials would take longer with each of them."""
    latest = (
        session.query(models.TrialModel.number)
        .filter_by(study_id=study)
        .order_by(models.TrialModel.trial_id.desc())
        .limit(1)
        .scalar()
    )
    return 0 if latest is None else int(latest) + 1


def _add_attributes(session: Any, kind: Any, trial: int, attributes: Attributes) -> None:
    rows = [
        {"trial_id": trial, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    _add(session, kind, rows)


def _value_row(trial: int, objective: int, value: float) -> dict[str, Any]:
    stored, kind = models.TrialValueModel.value_to_stored_repr(value)
    return {"trial_id": trial, "objective": objective, "value": stored, "value_type": kind}


def _utc() -> datetime:
    """This moment, as Optuna keeps times."""
    return datetime.now(UTC).replace(tzinfo=None)


def _add(session: Any, kind: Any, rows: list[dict[str, Any]]) -> None:
    """One statement, however many rows, and no object for each of them; what is there stays."""
    if rows:
        insert = insert_into(session.get_bind().dialect.name, kind.__table__)
        session.execute(insert.on_conflict_do_nothing(), rows)

"""Queries about trials: a fixed number of them, however many trials there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from autotune.errors import StoreError
from autotune.messages import Metrics, RecipeDict, TrialResult
from autotune.recipe import RecipeKeys
from autotune.store import rows
from autotune.store.database import add_rows
from autotune.store.records import TrialRecord, TrialState
from autotune.store.studies import add_new, study_id, touch
from autotune.store.tables import (
    BlocksRow,
    ConfirmationRow,
    MeasurementRow,
    StudyRow,
    TrialRow,
    now,
    plain,
)

_STUDIES, _TRIALS = plain(StudyRow), plain(TrialRow)
_MEASUREMENTS, _BLOCKS = plain(MeasurementRow), plain(BlocksRow)
_CONFIRMATIONS = plain(ConfirmationRow)
_REPEATED = select(_CONFIRMATIONS.c.trial_id)
_MEASURED = [_MEASUREMENTS.c[n] for n in ("trial_id", "metric", *rows.MEASUREMENT_COLUMNS)]
_RESULT = ("finished_at", *rows.TRIAL_COLUMNS)
_FINISH = (  # the update itself decides between two processes: only one finds the trial running
    _TRIALS.update()
    .where(
        _TRIALS.c.study_id
        == select(_STUDIES.c.id).where(_STUDIES.c.name == bindparam("study")).scalar_subquery(),
        _TRIALS.c.number == bindparam("of"),
        _TRIALS.c.state == TrialState.RUNNING.value,
    )
    .values(
        state=TrialState.FINISHED.value,
        **{name: bindparam(f"new_{name}", type_=_TRIALS.c[name].type) for name in _RESULT},
    )
    .returning(_TRIALS.c.id, _TRIALS.c.study_id)
)


def trial_row(session: Session, study: int, number: int) -> TrialRow | None:
    """One trial's row."""
    return session.scalar(
        select(TrialRow).where(TrialRow.study_id == study, TrialRow.number == number)
    )


def count(session: Session, study: int) -> int:
    """How many trials a study has."""
    return session.scalars(select(func.count()).where(TrialRow.study_id == study)).one()


def trial_records(
    session: Session, study: StudyRow, *only: Any, blocks: bool = True
) -> list[TrialRecord]:
    """Trials of a study by number, in four queries.

    Args:
        session: An open session.
        study: The study.
        *only: Further conditions on ``TrialRow``.
        blocks: False leaves out the raw blocks of trials that were not repeated.
    """
    wanted = (_TRIALS.c.study_id == study.id, *only)
    again = _confirmations(session, wanted)
    pairs = _blocks(session, wanted if blocks else (*wanted, _BLOCKS.c.trial_id.in_(_REPEATED)))
    metrics = _metrics(session, wanted)
    found = session.execute(select(_TRIALS).where(*wanted).order_by(_TRIALS.c.number))
    return [
        rows.trial_record(
            study.name,
            dict(row),
            metrics.get(row["id"], {}),
            pairs.get(row["id"], []),
            again.get(row["id"], {}),
        )
        for row in found.mappings()
    ]


def running(session: Session, study: StudyRow) -> list[TrialRecord]:
    """The trials of a study that have no result, by number."""
    state = _TRIALS.c.state == TrialState.RUNNING.value
    query = select(_TRIALS).where(_TRIALS.c.study_id == study.id, state)
    found = session.execute(query.order_by(_TRIALS.c.number))
    return [rows.begun_record(study.name, row) for row in found]


def _metrics(session: Session, wanted: Sequence[Any]) -> dict[int, Metrics]:
    found: dict[int, Metrics] = {}
    query = select(*_MEASURED).join(_TRIALS).where(*wanted).order_by(_MEASUREMENTS.c.id)
    for trial, metric, *columns in session.execute(query):
        found.setdefault(trial, {})[metric] = rows.measurement(columns)
    return found


def _blocks(session: Session, wanted: Sequence[Any]) -> dict[int, list[dict[str, Any]]]:
    query = select(_BLOCKS.c.trial_id, _BLOCKS.c.pairs).join(_TRIALS).where(*wanted)
    return {trial: pairs for trial, pairs in session.execute(query)}


def _confirmations(session: Session, wanted: Sequence[Any]) -> dict[int, dict[int, Any]]:
    found: dict[int, dict[int, Any]] = {}
    columns = _CONFIRMATIONS.c
    query = select(columns.trial_id, columns.confirmation, columns.result).join(_TRIALS)
    for trial, number, result in session.execute(
        query.where(*wanted).order_by(columns.confirmation)
    ):
        found.setdefault(trial, {})[number] = result
    return found


def confirm(session: Session, study: StudyRow, confirmation: int, result: TrialResult) -> None:
    """Adds a repetition to a finished trial.

    Raises:
        StoreError: The trial is not finished.
    """
    row = trial_row(session, study.id, result.number)
    if row is None or row.state != TrialState.FINISHED:
        raise StoreError(f"study {study.name!r} has no finished trial {result.number}")
    session.add(
        ConfirmationRow(
            trial_id=row.id,
            confirmation=confirmation,
            result=rows.confirmation_json(result),
            finished_at=now(),
        )
    )
    study.updated_at = now()


def start(
    session: Session, study: str, number: int, recipe: RecipeDict, keys: RecipeKeys
) -> tuple[TrialRecord, bool]:
    """Adds a trial, or one more attempt to a running one.

    Returns:
        The trial, without the result that a finished one has; and whether it is new.

    Raises:
        StoreError: The number is another recipe's.
    """
    new = _new_trial(number, recipe, keys)
    added = add_new(session, study, _TRIALS, new, ("number",))
    row = added or _once_more(session, study, number, keys.recipe_key)
    return rows.begun_record(study, row), added is not None


def _new_trial(number: int, recipe: RecipeDict, keys: RecipeKeys) -> dict[str, Any]:
    return {
        "number": number,
        "state": TrialState.RUNNING.value,
        "recipe": recipe,
        "recipe_key": keys.recipe_key,
        "setup_key": keys.setup_key,
        "output_key": keys.output_key,
        "attempts": 1,
        "started_at": now(),
    }


def _once_more(session: Session, study: str, number: int, recipe_key: str) -> TrialRow:
    """A trial that was begun before; if it runs, it is begun again."""
    row = trial_row(session, study_id(session, study), number)
    if row is None or row.recipe_key != recipe_key:
        raise StoreError(f"trial {number} of study {study!r} has another recipe")
    if row.state == TrialState.RUNNING:
        row.attempts += 1
        row.started_at = now()
        session.flush()
    return row


def give_back_attempts(session: Session, study: StudyRow) -> None:
    """One attempt less for each running trial."""
    session.execute(
        update(TrialRow)
        .where(TrialRow.study_id == study.id, TrialRow.state == TrialState.RUNNING.value)
        .values(attempts=TrialRow.attempts - 1)
    )


def finish(session: Session, study: str, result: TrialResult) -> bool:
    """Adds a result to a running trial; False where it has one.

    Raises:
        StoreError: The trial was never started.
    """
    new = {"finished_at": now(), **rows.trial_columns(result)}
    asked = {"study": study, "of": result.number, **{f"new_{n}": v for n, v in new.items()}}
    changed = session.execute(_FINISH, asked).one_or_none()
    if changed is None:
        if trial_row(session, study_id(session, study), result.number) is None:
            raise StoreError(f"study {study!r} never started trial {result.number}")
        return False
    _add_numbers(session, changed.id, result)
    touch(session, changed.study_id)
    return True


def _add_numbers(session: Session, trial_id: int, result: TrialResult) -> None:
    add_rows(session, _MEASUREMENTS, rows.measurement_columns(trial_id, result.metrics))
    if result.blocks:
        pairs = rows.block_columns(result.blocks)
        session.execute(_BLOCKS.insert(), {"trial_id": trial_id, "pairs": pairs})

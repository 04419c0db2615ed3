"""Finished trials column by column: what goes on from a long study needs a few numbers of each
trial, and no objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import Text, cast, func, select
from sqlalchemy.orm import Session

from autotune.messages import Grade, RecipeDict
from autotune.outcome import Outcome
from autotune.store.records import TrialState
from autotune.store.tables import ConfirmationRow, MeasurementRow, TrialRow, plain

_TRIALS, _MEASUREMENTS = plain(TrialRow), plain(MeasurementRow)
_CONFIRMATIONS = plain(ConfirmationRow)
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_READ = (
    _TRIALS.c.id,
    _TRIALS.c.number,
    # As text: read by a faster parser than the database's driver has.
    cast(_TRIALS.c.recipe, Text),
    _TRIALS.c.outcome,
    cast(_TRIALS.c.phase_seconds, Text),
    _TRIALS.c.warm,
    cast(_TRIALS.c.fallbacks, Text),
)


class MetricColumn(NamedTuple):
    """One metric of all trials, in their order; None where a trial did not measure it."""

    value: Sequence[float | None]
    low: Sequence[float | None]
    """Ends of the interval, the value itself where there is none."""
    high: Sequence[float | None]
    disturbed: Sequence[bool]
    """Whether it is of grade C."""


@dataclass(frozen=True)
class FinishedTrials:
    """The finished trials of a study, the baseline first, the others as they came: results of the
    search, without repetitions. All sequences have one entry for each of them."""

    numbers: Sequence[int]
    recipes: Sequence[RecipeDict]
    outcomes: Sequence[Outcome]
    phase_seconds: Sequence[Mapping[str, float]]
    warm: Sequence[bool]
    """Whether its process was there already."""
    fallbacks: Sequence[Sequence[str]]
    """What ran otherwise than asked."""
    repeated: Collection[int]
    """Numbers of those that were repeated: other numbers may count for them."""
    metrics: Mapping[str, MetricColumn]
    """Those that were asked for."""


def finished_trials(session: Session, study: int, metrics: Collection[str]) -> FinishedTrials:
    """The finished trials of a study.

    Args:
        session: An open session.
        study: Its id.
        metrics: Names of those that are wanted.
    """
    wanted = (_TRIALS.c.study_id == study, _TRIALS.c.state == TrialState.FINISHED.value)
    came = func.coalesce(_TRIALS.c.finished_at, _TRIALS.c.started_at)
    found = session.execute(select(*_READ).where(*wanted).order_by(came, _TRIALS.c.number)).all()
    found = sorted(found, key=lambda row: row[2] != "{}")  # the baseline first
    ids, numbers, recipes, outcomes, seconds, warm, fallbacks = (
        zip(*found, strict=True) if found else ((),) * len(_READ)
    )
    places = {trial: i for i, trial in enumerate(ids)}
    again = select(_TRIALS.c.number).join(_CONFIRMATIONS).where(*wanted).distinct()
    words = {text: from_json(text or "null") or () for text in set(fallbacks)}
    return FinishedTrials(
        numbers=numbers,
        recipes=_documents(recipes),
        outcomes=[_OUTCOMES[name] for name in outcomes],
        phase_seconds=_documents(seconds),
        warm=warm,
        fallbacks=[words[text] for text in fallbacks],
        repeated=frozenset(session.scalars(again)),
        metrics={name: _column(session, wanted, name, places) for name in metrics},
    )


def _documents(texts: Sequence[str]) -> list[Any]:
    """Parses them at once, which is faster than one by one."""
    documents: list[Any] = from_json(f"[{','.join(texts)}]")
    return documents


def _column(
    session: Session, wanted: tuple[Any, ...], name: str, places: Mapping[int, int]
) -> MetricColumn:
    columns = _MEASUREMENTS.c
    query = select(
        columns.trial_id, columns.value, columns.ci_low, columns.ci_high, columns.grade
    ).join(_TRIALS)
    value: list[float | None] = [None] * len(places)
    low, high, disturbed = list(value), list(value), [False] * len(places)
    query = query.where(*wanted, columns.metric == name)
    for trial, middle, left, right, grade in session.execute(query).all():
        i = places[trial]
        value[i] = middle
        low[i] = middle if left is None else left
        high[i] = middle if right is None else right
        disturbed[i] = grade == Grade.C.value
    return MetricColumn(value, low, high, disturbed)

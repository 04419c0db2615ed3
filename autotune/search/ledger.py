"""A study's trials in both records: Optuna's, which the dashboard reads, and our own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.orm import Session

from autotune.constraints import Constraint
from autotune.environment import accuracy_key
from autotune.errors import StoreError, StoreUnreachable
from autotune.messages import Metrics, TrialResult
from autotune.metrics import METRICS, Direction
from autotune.outcome import Lesson, lesson
from autotune.recipe import Recipe, describe
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.storage import open_storage, unwrapped, usable
from autotune.search.trial_tables import (
    close_trial,
    find_trial,
    next_number,
    open_trial,
    running_trials,
    value_ranges,
)
from autotune.store.accuracy import AccuracyKey
from autotune.store.database import parse_url, words
from autotune.store.patience import transaction
from autotune.store.records import TrialRecord
from autotune.store.store import Store

_MEASURED = "measured"
"""The constraint that a trial without measurements violates."""


@dataclass
class _Told:
    """What Optuna learns of a finished trial."""

    number: int
    values: list[float]
    words: dict[str, str]
    notes: FrozenTrial
    """A trial that holds the constraints."""
    is_news: bool = False
    """Whether Optuna did not have a result of it."""


class _OtherNumber(Exception):
    """Another program has added trials to the study."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        """Of Optuna's next trial."""


class Ledger:
    """The trials of a study in both records, Optuna's and our own: each trial is written to them
    in one transaction. Only the coordinator has one."""

    def __init__(self, plan: Plan, store: Store, url: str, code: PoolCode) -> None:
        """
        Args:
            plan: Of the study.
            store: Our own record.
            url: Of the same database, for Optuna.
            code: The plan's pool.
        """
        self._plan = plan
        self._store = store
        self._code = code
        self._url = parse_url(url)
        self.patience_seconds = store.patience_seconds
        self._accuracy_key = accuracy_key(plan.device, plan.model.task, plan.environment)
        self._open: dict[int, int] = {}
        """Number → id in Optuna's tables, of trials that run."""
        self._worst: list[float] | None = None
        self._tables = open_storage(self._url, store.patience_seconds)
        self._study = self._open_study()
        self._id = self._tables.get_study_id_from_name(plan.name)
        self._next = 0

    @transaction
    def _open_study(self) -> optuna.Study:
        with usable(self._url), self._reached():
            study = optuna.create_study(
                storage=self._tables,
                sampler=optuna.samplers.RandomSampler(),  # never asked
                study_name=self._plan.name,
                directions=[d.value for d in self._plan.directions],
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                # Marked experimental since Optuna 3.2; the dashboard shows the names.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(self._plan.objectives))
            return study

    def begin(self, recipe: Recipe) -> tuple[TrialRecord, Metrics | None]:
        """Begins a trial.

        Returns:
            The trial, and its accuracy where that is known.

        Raises:
            StoreError: Another coordinator has gone on with the study meanwhile.
        """
        while True:
            try:
                begun = self._begin(self._next, recipe)
                break
            except _OtherNumber as other:
                self._next = other.number
        if self._next not in self._open:
            raise StoreError(
                f"another process has begun trial {self._next} of the study "
                f"{self._plan.name!r} meanwhile; go on with --resume"
            )
        self._next += 1
        return begun

    def begin_again(self, trial: TrialRecord) -> tuple[TrialRecord, Metrics | None]:
        """Begins a trial once more whose coordinator died.

        Returns:
            As ``begin``.
        """
        return self._begin(trial.number, Recipe.from_dict(trial.recipe))

    def _begin(self, number: int, recipe: Recipe) -> tuple[TrialRecord, Metrics | None]:
        keys = self._plan.keys(recipe)
        accuracy = self._accuracy_of(keys.output_key)
        also = partial(self._open_trial, number=number, recipe=recipe)
        return self._store.start_trial(
            self._plan.name, number, recipe.to_dict(), keys, accuracy, also
        )

    def _open_trial(self, session: Session, number: int, recipe: Recipe) -> None:
        words = {"recipe": describe(recipe.to_dict())}
        params, distributions = self._code.flat(recipe), self._code.distributions
        trial, theirs = open_trial(session, self._id, params, distributions, words)
        if theirs != number:
            raise _OtherNumber(theirs)
        self._open[number] = trial

    def finish(self, trial: TrialRecord, result: TrialResult) -> None:
        """Stores a trial's result; again for the same trial changes nothing.

        A failed trial is told to Optuna as complete with the worst values seen and a violated
        constraint.
        """
        told = self._lesson(result)
        self._store.finish_trial(
            self._plan.name,
            result,
            self._accuracy_of(trial.output_key),
            partial(self._close_trial, told=told),
        )
        self._note(told)

    def tell(self, result: TrialResult) -> None:
        """Tells Optuna a result that is in our own record already."""
        told = self._lesson(result)
        self._store.write(partial(self._close_trial, told=told))
        self._note(told)

    def _accuracy_of(self, output_key: str) -> AccuracyKey:
        return AccuracyKey(
            self._plan.model.fingerprint,
            output_key,
            self._plan.workload.evaluation_key,
            self._accuracy_key,
        )

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns Optuna's words for a database that cannot be used into ours. Its session is
        dropped: what broke off stays broken in it."""
        try:
            with unwrapped(self._url):
                yield
        except StoreError:
            self._tables.remove_session()
            raise
        except sqlalchemy.exc.PendingRollbackError as error:
            self._tables.remove_session()
            raise StoreUnreachable(f"database {words(self._url)} broke off: {error}") from error

    def open_trials(self) -> list[int]:
        """Numbers of the trials that run according to Optuna: those of a coordinator that died.
        To be asked first, once no other coordinator can begin any."""
        running = self._store.write(partial(running_trials, study=self._id))
        self._next = self._store.write(partial(next_number, study=self._id))
        self._open |= running
        return list(running)

    @transaction
    def give_up(self, number: int) -> None:
        """Closes a trial that nothing was measured for: another program has added it, or an older
        version died before it was in our own record.

        Args:
            number: Of a trial from ``open_trials``.
        """
        with self._reached():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        self._open.pop(number, None)

    def _lesson(self, result: TrialResult) -> _Told:
        measured = lesson(result.outcome) is Lesson.VALUES
        values = [self._value(name, result) for name in self._plan.objectives]
        whole = measured and all(value is not None for value in values)
        notes = create_trial(state=TrialState.RUNNING)
        notes.set_constraint(_MEASURED, -1.0 if whole else 1.0)
        for constraint in self._plan.constraints:
            notes.set_constraint(str(constraint), _finite(constraint, result))
        words = {"outcome": result.outcome.value, "explanation": result.explanation}
        given = {name: text for name, text in words.items() if text}
        return _Told(result.number, self._completed(values), given, notes)

    def _close_trial(self, session: Session, told: _Told) -> None:
        trial = self._open.get(told.number)
        if trial is None:  # somebody else has told it while no coordinator was there
            trial = find_trial(session, self._id, told.number)
        told.is_news = close_trial(session, trial, told.values, told.words, told.notes)

    def _note(self, told: _Told) -> None:
        self._open.pop(told.number, None)
        if told.is_news:
            self._note_worst(told.values)
        else:
            self._worst = None  # what is known is not all

    @staticmethod
    def _value(objective: str, result: TrialResult) -> float | None:
        measured = result.metrics.get(objective)
        value = measured.value if measured else None
        return value if value is not None and math.isfinite(value) else None

    def _completed(self, values: Sequence[float | None]) -> list[float]:
        """Missing values become the worst ones seen so far."""
        if None in values and self._worst is None:
            ranges = self._store.write(partial(value_ranges, study=self._id))
            self._worst = [self._worse(i, *ends) for i, ends in enumerate(ranges)]
        worst = self._worst or [0.0] * len(values)
        return [worst[i] if value is None else value for i, value in enumerate(values)]

    def _note_worst(self, told: Sequence[float]) -> None:
        """Only kept once it was asked for: most studies have no failure."""
        if self._worst is not None:
            pairs = zip(self._worst or told, told, strict=True)
            self._worst = [self._worse(i, *pair) for i, pair in enumerate(pairs)]

    def _worse(self, index: int, a: float, b: float) -> float:
        maximised = METRICS[self._plan.objectives[index]].direction is Direction.MAXIMIZE
        return min(a, b) if maximised else max(a, b)

    def close(self) -> None:
        """Lets go of the database."""
        self._tables.remove_session()
        self._tables.engine.dispose()


def _finite(constraint: Constraint, result: TrialResult) -> float:
    return max(-1e6, min(1e6, constraint.violation(result.metrics)))

"""The store: every question that the rest of autotune asks the database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from sqlalchemy import Engine, delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from autotune.errors import InputError, StoreError
from autotune.messages import Metrics, RecipeDict, TrialResult
from autotune.recipe import RecipeKeys
from autotune.store import accuracy, rows, trials
from autotune.store.accuracy import AccuracyKey
from autotune.store.database import connect, explained, for_writing, parse_url, sqlite_file, words
from autotune.store.finished import FinishedTrials, finished_trials
from autotune.store.migrate import revision, upgrade
from autotune.store.patience import transaction
from autotune.store.records import StudyRecord, StudyState, TrialRecord
from autotune.store.studies import new_study, outcome_counts, study_id, study_row
from autotune.store.tables import DatabaseRow, StudyRow, TrialRow, now

_T = TypeVar("_T")
Also = Callable[[Session], object]
"""What another part writes in the same transaction."""


class Store:
    """One database. Open it with ``Store.open``; use it in any thread, never across a fork.

    Every method is one transaction: a process that dies leaves the call done or not begun.
    Every method may raise StoreError (the database cannot be used).
    """

    def __init__(self, engine: Engine, patience_seconds: float = 0.0) -> None:
        self._engine = engine
        self._writing = for_writing(engine)
        self.patience_seconds = patience_seconds

    @classmethod
    def open(
        cls, url: str, *, busy_timeout_seconds: float = 30.0, patience_seconds: float = 0.0
    ) -> Self:
        """Opens a database, creating or upgrading its tables.

        Args:
            url: ``sqlite:///file.db`` or ``postgresql://user@host/database``.
            busy_timeout_seconds: How long to wait for another process's SQLite lock.
            patience_seconds: How long every later call waits for a server that is away.

        Raises:
            StoreError: It cannot be used; the message says why and what to do.
        """
        parsed = parse_url(url)
        file = sqlite_file(parsed)
        if file is not None and not file.parent.is_dir():
            raise StoreError(f"no directory {file.parent} for the database; make it first")
        store = cls(connect(parsed, busy_timeout_seconds), patience_seconds)
        try:
            with explained(parsed):
                upgrade(store._engine)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def open_existing(cls, url: str, *, busy_timeout_seconds: float = 30.0) -> Self:
        """Opens a database for a command that reads; never creates one.

        Raises:
            InputError: There is none, or it holds nothing of autotune.
            StoreError: It cannot be used.
        """
        parsed = parse_url(url)
        file = sqlite_file(parsed)
        hint = "'autotune search' makes one; or give the right --database"
        if file is not None and not file.is_file():
            raise InputError(f"no database {file}; {hint}")
        engine = connect(parsed, busy_timeout_seconds)
        try:
            with explained(parsed), engine.connect() as connection:
                if revision(connection) is None:
                    raise InputError(f"no studies of autotune in {words(parsed)}; {hint}")
        finally:
            engine.dispose()
        return cls.open(url, busy_timeout_seconds=busy_timeout_seconds)

    def close(self) -> None:
        """Closes all connections; the store may not be used any more."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @contextmanager
    def _read(self) -> Iterator[Session]:
        with explained(self._engine.url), Session(self._engine) as session:
            yield session

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with explained(self._engine.url), Session(self._writing) as session, session.begin():
            yield session

    @transaction
    def write(self, work: Callable[[Session], _T]) -> _T:
        """Carries out another part's work on its own tables as one transaction."""
        with self._write() as session:
            return work(session)

    @transaction
    def identity(self) -> str:
        """What names this database, whatever the URL that leads to it."""
        with self._read() as session:
            return session.scalars(select(DatabaseRow.identity)).one()

    def create_study(
        self,
        name: str,
        definition: dict[str, Any],
        objectives: Sequence[str],
        constraints: Sequence[str],
        environment: dict[str, str],
    ) -> StudyRecord:
        """Begins a study, in state ``running``.

        Raises:
            InputError: There is one of that name.
        """
        row = new_study(name, definition, list(objectives), list(constraints), environment)
        try:
            with self._write() as session:
                session.add(row)
                session.flush()
                return rows.study_record(row)
        except IntegrityError as error:
            raise InputError(
                f"a study named {name!r} exists; go on with --resume, or choose another name"
            ) from error

    @transaction
    def find_study(self, name: str) -> StudyRecord | None:
        """The study of that name, if there is one."""
        with self._read() as session:
            row = session.scalar(select(StudyRow).where(StudyRow.name == name))
            return None if row is None else rows.study_record(row)

    @transaction
    def study(self, name: str) -> StudyRecord:
        """The study of that name.

        Raises:
            InputError: There is none; names the nearest.
        """
        with self._read() as session:
            return rows.study_record(study_row(session, name))

    @transaction
    def studies(self) -> list[StudyRecord]:
        """All studies, oldest first."""
        with self._read() as session:
            return [
                rows.study_record(r)
                for r in session.scalars(select(StudyRow).order_by(StudyRow.id))
            ]

    @transaction
    def outcome_counts(self) -> dict[str, dict[str, int]]:
        """Study → outcome (or ``running``) → how many trials."""
        with self._read() as session:
            return outcome_counts(session)

    @transaction
    def update_study(
        self,
        name: str,
        *,
        state: StudyState | None = None,
        convergence_reason: str | None = None,
        notes: Sequence[str] | None = None,
        objectives: Sequence[str] | None = None,
        front: dict[str, Any] | None = None,
        definition: dict[str, Any] | None = None,
    ) -> None:
        """Changes what is given, and leaves what is None."""
        given = {
            "state": None if state is None else state.value,
            "convergence_reason": convergence_reason,
            "notes": None if notes is None else list(notes),
            "objectives": None if objectives is None else list(objectives),
            "front": front,
            "definition": definition,
        }
        changed = {name: value for name, value in given.items() if value is not None}
        with self._write() as session:
            row = study_row(session, name)
            for column, value in {**changed, "updated_at": now()}.items():
                setattr(row, column, value)

    @transaction
    def delete_study(self, name: str) -> None:
        """Removes a study and its trials; accuracy stays, other studies reuse it."""
        with self._write() as session:
            row = study_row(session, name)
            session.execute(delete(StudyRow).where(StudyRow.id == row.id))

    @transaction
    def start_trial(
        self,
        study: str,
        number: int,
        recipe: RecipeDict,
        keys: RecipeKeys,
        accuracy_key: AccuracyKey | None = None,
        also: Also | None = None,
    ) -> tuple[TrialRecord, Metrics | None]:
        """Records that a trial runs; the same number again is one more attempt.

        A finished trial stays as it is.

        Args:
            study: Name of the study.
            number: Of the trial.
            recipe: Its recipe.
            keys: The recipe's identities.
            accuracy_key: Under which its accuracy may be known.
            also: Adds to the transaction, if the trial is new.

        Returns:
            The trial as it is now, in any case without a result; and the accuracy that is known
            of the key, if one is given.

        Raises:
            StoreError: The recipe is another trial's, or the number is another recipe's.
        """
        with self._write() as session:
            try:
                trial, is_new = trials.start(session, study, number, recipe, keys)
            except IntegrityError as error:
                raise StoreError(
                    f"trial {number} of study {study!r} has the recipe of an earlier trial"
                ) from error
            if is_new and also:
                also(session)
            known = accuracy.find(session, accuracy_key) if accuracy_key else None
            return trial, known

    @transaction
    def give_back_attempts(self, study: str) -> None:
        """Takes the latest attempt off the trials that run: a person stopped them."""
        with self._write() as session:
            trials.give_back_attempts(session, study_row(session, study))

    @transaction
    def finish_trial(
        self,
        study: str,
        result: TrialResult,
        accuracy_key: AccuracyKey | None = None,
        also: Also | None = None,
    ) -> bool:
        """Stores a result, all of it or nothing.

        Args:
            study: Name of the study.
            result: What came of the trial.
            accuracy_key: Under which its accuracy is kept for every study, if it was scored.
            also: Adds to the transaction, if the trial was not finished before.

        Returns:
            False if the trial was finished before; nothing changes then.

        Raises:
            StoreError: The trial was never started.
        """
        with self._write() as session:
            finished = trials.finish(session, study, result)
            if finished and also:
                also(session)
            if finished and accuracy_key and result.accuracy and not result.accuracy_reused:
                accuracy.add(session, accuracy_key, result.accuracy)
            return finished

    @transaction
    def confirm_trial(self, study: str, confirmation: int, result: TrialResult) -> bool:
        """Stores a repetition of a finished trial.

        Args:
            study: Name of the study.
            confirmation: Its number, from 1 on; 0 for the run of the tasks.
            result: What came of it; a failure is kept too.

        Returns:
            False if it was stored before; nothing changes then.

        Raises:
            StoreError: The trial is not finished.
        """
        try:
            with self._write() as session:
                trials.confirm(session, study_row(session, study), confirmation, result)
        except IntegrityError:
            return False
        return True

    @transaction
    def trials(
        self, study: str, *, blocks: bool = True, only: Collection[int] | None = None
    ) -> list[TrialRecord]:
        """All trials of a study, by number.

        Args:
            study: Its name.
            blocks: False leaves raw blocks out where nobody pools them: of all trials but those
                that were repeated. They are most of what a long study has.
            only: Numbers of those that are wanted; none: all.
        """
        wanted = () if only is None else (TrialRow.number.in_(only),)
        with self._read() as session:
            study_ = study_row(session, study)
            return trials.trial_records(session, study_, *wanted, blocks=blocks)

    @transaction
    def running_trials(self, study: str) -> list[TrialRecord]:
        """The trials of a study that were begun and have no result, by number."""
        with self._read() as session:
            return trials.running(session, study_row(session, study))

    @transaction
    def finished_trials(self, study: str, metrics: Collection[str]) -> FinishedTrials:
        """The finished trials of a study, in columns.

        Args:
            study: Its name.
            metrics: Names of those that are wanted.
        """
        with self._read() as session:
            return finished_trials(session, study_id(session, study), metrics)

    @transaction
    def trial_count(self, study: str) -> int:
        """How many trials of a study were begun."""
        with self._read() as session:
            return trials.count(session, study_id(session, study))

    @transaction
    def trial(self, study: str, number: int) -> TrialRecord:
        """One trial.

        Raises:
            InputError: The study has none of that number.
        """
        with self._read() as session:
            row = study_row(session, study)
            found = trials.trial_records(session, row, TrialRow.number == number)
        if not found:
            raise InputError(
                f"study {study!r} has no trial {number}; 'autotune pareto' lists the best ones"
            )
        return found[0]

    @transaction
    def known_accuracy(self, key: AccuracyKey) -> Metrics | None:
        """Accuracy measured before, in any study; None if it was not."""
        with self._read() as session:
            return accuracy.find(session, key)

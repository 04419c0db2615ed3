"""The study in Optuna's tables: what was asked, what it was told."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.trial import TrialState, create_trial

from autotune.constraints import Constraint
from autotune.errors import StoreError, StoreUnreachable
from autotune.messages import TrialResult
from autotune.metrics import METRICS, Direction
from autotune.outcome import Lesson, lesson
from autotune.recipe import Recipe, describe
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.sampler import PoolSampler
from autotune.search.storage import open_storage, unwrapped, usable
from autotune.store.database import parse_url, words
from autotune.store.patience import transaction

_MEASURED = "measured"
"""The constraint that a trial without measurements violates."""


class Ledger:
    """Asks Optuna for trials and tells it results. Only the coordinator has one."""

    def __init__(
        self,
        plan: Plan,
        url: str,
        code: PoolCode,
        sampler: PoolSampler,
        patience_seconds: float = 0.0,
    ) -> None:
        self._plan = plan
        self._code = code
        self._sampler = sampler
        self._url = parse_url(url)
        self.patience_seconds = patience_seconds
        self._open: dict[int, int] = {}
        """Number → id in Optuna's tables, of trials that somebody has and that were not told."""
        self._broke_off = False
        self._worst: list[float] | None = None
        self._tables = open_storage(self._url, patience_seconds)
        self._study = self._open_study()
        self._id = self._tables.get_study_id_from_name(plan.name)

    @transaction
    def _open_study(self) -> optuna.Study:
        with usable(self._url), self._reached():
            study = optuna.create_study(
                storage=self._tables,
                sampler=self._sampler,
                study_name=self._plan.name,
                directions=[d.value for d in self._plan.directions],
                load_if_exists=True,
            )
            with warnings.catch_warnings():
                # Marked experimental since Optuna 3.2; the dashboard shows the names.
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(list(self._plan.objectives))
            return study

    @transaction
    def ask(self) -> tuple[int, Recipe]:
        """Opens a trial and returns its number and recipe."""
        with self._reached(), self._sampler.undone_on_error():
            if self._broke_off:
                self._close_strays()
            self._broke_off = True
            params = self._choose()
            recipe = self._code.recipe(params)
            trial, number = self._tables.open_trial(
                self._id,
                params,
                self._code.distributions,
                {"recipe": describe(recipe.to_dict())},
            )
            self._broke_off = False
        self._open[number] = trial
        return number, recipe

    def _choose(self) -> dict[str, Any]:
        """The sampler is asked before there is a trial: one that nobody got is never seen."""
        # As Study.ask does: what the sampler reads of the study is as old as its latest question.
        self._study._thread_local.cached_all_trials = None
        asking = create_trial(state=TrialState.RUNNING)
        return self._sampler.sample_relative(self._study, asking, self._code.distributions)

    def _close_strays(self) -> None:
        """Trials that were opened just when the database went away: nobody got them."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._open:
                self._study.tell(trial.number, state=TrialState.FAIL)

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

    @transaction
    def open_trials(self) -> list[tuple[int, Recipe]]:
        """Trials that were asked for and never told: those of a coordinator that died."""
        with self._reached():
            waiting = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            complete = [t for t in waiting if set(t.params) == set(self._code.names)]
            for trial in waiting:
                if trial not in complete:  # an older version died inside ask: nothing was started
                    self._study.tell(trial.number, state=TrialState.FAIL)
        self._open |= {t.number: t._trial_id for t in complete}
        return [(t.number, self._code.recipe(t.params)) for t in complete]

    @transaction
    def give_up(self, number: int) -> None:
        """Closes a trial that nothing was started for.

        Args:
            number: Of a trial from ``open_trials``.
        """
        with self._reached():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
        self._open.pop(number, None)

    @transaction
    def tell(self, result: TrialResult) -> None:
        """Tells a result; again for the same trial changes nothing.

        A failed trial is told as complete with the worst values seen and a violated constraint.
        """
        with self._reached():
            self._tell(result)
        self._open.pop(result.number, None)

    def _tell(self, result: TrialResult) -> None:
        measured = lesson(result.outcome) is Lesson.VALUES
        values = [self._value(name, result) for name in self._plan.objectives]
        whole = measured and all(value is not None for value in values)
        notes = create_trial(state=TrialState.RUNNING)
        notes.set_constraint(_MEASURED, -1.0 if whole else 1.0)
        for constraint in self._plan.constraints:
            notes.set_constraint(str(constraint), _finite(constraint, result))
        words = {"outcome": result.outcome.value, "explanation": result.explanation}
        given = {name: text for name, text in words.items() if text}
        told = self._completed(values)
        try:
            self._tables.close_trial(self._trial_id(result.number), told, given, notes)
        except optuna.exceptions.UpdateFinishedTrialError:
            self._worst = None  # it may have been told just when the database went away
        else:
            self._sampler.after_trial(self._study, notes, TrialState.COMPLETE, told)
            self._note_worst(told)

    def _trial_id(self, number: int) -> int:
        found = self._open.get(number)
        if found is None:
            found = self._tables.get_trial_id_from_study_id_trial_number(self._id, number)
        return found

    @staticmethod
    def _value(objective: str, result: TrialResult) -> float | None:
        measured = result.metrics.get(objective)
        value = measured.value if measured else None
        return value if value is not None and math.isfinite(value) else None

    def _completed(self, values: Sequence[float | None]) -> list[float]:
        """Missing values become the worst ones seen so far."""
        if None in values and self._worst is None:
            self._worst = []
            for trial in self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                self._note_worst(trial.values)
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

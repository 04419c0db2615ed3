"""The study in Optuna's tables: what was asked, what it was told."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, Trial, TrialState

from autotune.constraints import Constraint
from autotune.errors import StoreError, StoreUnreachable
from autotune.messages import TrialResult
from autotune.metrics import METRICS, Direction
from autotune.outcome import Lesson, lesson
from autotune.recipe import Recipe, describe
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.sampler import PoolSampler
from autotune.search.storage import open_storage, usable
from autotune.store.database import explained, parse_url, words
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
        self._asked: set[int] = set()
        self._broke_off = False
        self._storage = open_storage(self._url)
        with usable(self._url):
            self._study = optuna.create_study(
                storage=self._storage,
                sampler=sampler,
                study_name=plan.name,
                directions=[d.value for d in plan.directions],
                load_if_exists=True,
            )
        with warnings.catch_warnings():
            # Marked experimental since Optuna 3.2; the dashboard shows the names.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self._study.set_metric_names(list(plan.objectives))

    @transaction
    def ask(self) -> tuple[int, Recipe]:
        """Opens a trial and returns its number and recipe."""
        with self._reached(), self._sampler.undone_on_error():
            if self._broke_off:
                self._close_strays()
            self._broke_off = True
            trial = self._study.ask(self._code.distributions)
            recipe = self._code.recipe(trial.params)
            trial.set_user_attr("recipe", describe(recipe.to_dict()))
            self._broke_off = False
        self._asked.add(trial.number)
        return trial.number, recipe

    def _close_strays(self) -> None:
        """Trials that were opened just when the database went away: nobody got them."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.number not in self._asked:
                self._study.tell(trial.number, state=TrialState.FAIL)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns Optuna's words for a database that cannot be used into ours. Its session is
        dropped: what broke off stays broken in it."""
        try:
            with explained(self._url):
                try:
                    yield
                except optuna.exceptions.StorageInternalError as error:
                    raise (error.__cause__ or error) from error
        except StoreError:
            self._storage.remove_session()
            raise
        except sqlalchemy.exc.PendingRollbackError as error:
            self._storage.remove_session()
            raise StoreUnreachable(f"database {words(self._url)} broke off: {error}") from error

    @transaction
    def open_trials(self) -> list[tuple[int, Recipe]]:
        """Trials that were asked for and never told: those of a coordinator that died."""
        with self._reached():
            waiting = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
            complete = [t for t in waiting if set(t.params) == set(self._code.names)]
            for trial in waiting:
                if trial not in complete:  # it died inside ask: nothing was started
                    self._study.tell(trial.number, state=TrialState.FAIL)
        self._asked |= {t.number for t in complete}
        return [(t.number, self._code.recipe(t.params)) for t in complete]

    @transaction
    def give_up(self, number: int) -> None:
        """Closes a trial that nothing was started for.

        Args:
            number: Of a trial from ``open_trials``.
        """
        with self._reached():
            self._study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    @transaction
    def tell(self, result: TrialResult) -> None:
        """Tells a result; again for the same trial changes nothing.

        A failed trial is told as complete with the worst values seen and a violated constraint.
        """
        with self._reached():
            self._tell(result)

    def _tell(self, result: TrialResult) -> None:
        frozen = self._study.get_trials(deepcopy=False)[result.number]
        if frozen.state.is_finished():
            return
        trial = Trial(self._study, frozen._trial_id)
        measured = lesson(result.outcome) is Lesson.VALUES
        values = [self._value(name, result) for name in self._plan.objectives]
        whole = measured and all(value is not None for value in values)
        given = {_MEASURED: -1.0 if whole else 1.0} | {
            str(c): _finite(c, result) for c in self._plan.constraints
        }
        for name, violation in given.items():
            if name not in trial.constraints:  # a coordinator may have died between two of them
                trial.set_constraint(name, violation)
        trial.set_user_attr("outcome", result.outcome.value)
        trial.set_user_attr("explanation", result.explanation)
        self._study.tell(trial, self._completed(values), skip_if_finished=True)

    @staticmethod
    def _value(objective: str, result: TrialResult) -> float | None:
        measured = result.metrics.get(objective)
        value = measured.value if measured else None
        return value if value is not None and math.isfinite(value) else None

    def _completed(self, values: Sequence[float | None]) -> list[float]:
        """Missing values become the worst ones seen so far."""
        told = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return [self._worst(i, told) if value is None else value for i, value in enumerate(values)]

    def _worst(self, index: int, told: Sequence[FrozenTrial]) -> float:
        seen: list[float] = [t.values[index] for t in told]
        if not seen:
            return 0.0
        maximised = METRICS[self._plan.objectives[index]].direction is Direction.MAXIMIZE
        return min(seen) if maximised else max(seen)

    def close(self) -> None:
        """Lets go of the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()


def _finite(constraint: Constraint, result: TrialResult) -> float:
    return max(-1e6, min(1e6, constraint.violation(result.metrics)))

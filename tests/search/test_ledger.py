"""A study's trials in Optuna's tables, written together with our own."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from autotune.errors import StoreError, StoreUnreachable
from autotune.hashing import sha256_json
from autotune.messages import TrialResult
from autotune.outcome import Lesson, Outcome, lesson
from autotune.recipe import Recipe
from autotune.search.ledger import Ledger, _Told
from autotune.search.order_chooser import OrderChooser
from autotune.search.plan import Plan
from autotune.search.pool_code import PoolCode
from autotune.search.register import register
from autotune.search.sampler import PoolSampler
from autotune.store import Store
from autotune.store.records import TrialRecord
from autotune.testing import fake_result, fake_spec

CONSTRAINTS = ("kld_mean_nats<=0.1", "weights_bytes<=1e9")


class OpenLedger(Ledger):
    """With the store that it writes to, and a trial's life in two calls."""

    def __init__(
        self,
        plan: Plan,
        url: str,
        store: Store | None = None,
    ) -> None:
        code = PoolCode(plan.pool.recipes, plan.registry.plugins)
        self.store = store or Store.open(url)
        register(plan, self.store, resume=self.store.find_study(plan.name) is not None)
        self.told: list[Sequence[float]] = []
        self._recipes = PoolSampler(code, OrderChooser(len(code.recipes), seed=0))
        super().__init__(plan, self.store, url, code)
        self.open_trials()

    def _note(self, told: _Told) -> None:
        super()._note(told)
        if told.is_news:
            self.told.append(told.values)

    def next(self) -> TrialRecord:
        return self.begin(self.ask())[0]

    def ask(self) -> Recipe:
        return self._recipes.next_recipe()

    def end(self, result: TrialResult) -> None:
        self.finish(self.store.trial(self._plan.name, result.number), result)

    def close(self) -> None:
        super().close()
        self.store.close()


def open_ledger(lab: Any, **study: Any) -> OpenLedger:
    return OpenLedger(lab.plan(**study), lab.url)


@pytest.fixture
def ledger(lab: Any) -> Iterator[OpenLedger]:
    opened = open_ledger(lab, constraints=CONSTRAINTS)
    yield opened
    opened.close()


def measured(number: int, speed: float = 100.0, kld: float = 0.05) -> TrialResult:
    return fake_result(
        fake_spec(number),
        output_tokens_per_second=speed,
        weights_bytes=1e6,
        kld_mean_nats=kld,
    )


def violations(trial: optuna.trial.FrozenTrial) -> dict[str, float]:
    return dict(trial.constraints)


def test_ask_writes_nothing_and_begin_writes_both(ledger: OpenLedger, lab: Any) -> None:
    assert ledger.ask() == Recipe()
    assert lab.told() == []
    ledger.begin(Recipe())
    recipe = ledger.ask()
    trial, known = ledger.begin(recipe)
    assert (trial.number, trial.recipe, known) == (1, recipe.to_dict(), None)
    assert lab.told()[1].user_attrs["recipe"] == str(recipe)
    assert lab.trials()[1] == trial


def test_tell_keeps_values_and_constraints(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    ledger.end(measured(0))
    told = lab.told()[0]
    assert told.state is TrialState.COMPLETE
    assert told.values == [100.0, 1e6, 0.05]
    assert told.user_attrs["outcome"] == "ok"
    assert violations(told) == pytest.approx(
        {"measured": -1.0, "kld_mean_nats<=0.1": -0.5, "weights_bytes<=1e+09": -0.999}
    )


def test_tell_again_changes_nothing(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    ledger.end(measured(0))
    first = lab.told()
    ledger.end(measured(0, speed=5.0))
    ledger.end(fake_result(fake_spec(0), Outcome.CRASHED))
    assert lab.told() == first
    assert ledger.told == [[100.0, 1e6, 0.05]]


def test_failure_is_told_as_complete_with_the_worst_values(ledger: OpenLedger, lab: Any) -> None:
    for number, (speed, kld) in enumerate([(100.0, 0.0), (50.0, 0.3), (200.0, 0.1)]):
        ledger.next()
        ledger.end(measured(number, speed, kld))
    failures = [o for o in Outcome if lesson(o) is Lesson.REJECT]
    for outcome in failures:
        number = ledger.next().number
        ledger.end(fake_result(fake_spec(number), outcome))
    told = lab.told()[3:]
    assert [t.state for t in told] == [TrialState.COMPLETE] * len(failures)
    assert all(t.values == [50.0, 1e6, 0.3] for t in told)
    assert all(violations(t)["measured"] > 0 for t in told)
    assert [t.user_attrs["outcome"] for t in told] == failures


def test_failure_before_any_success_is_told_too(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    ledger.end(fake_result(fake_spec(0), Outcome.TIMEOUT))
    assert lab.told()[0].state is TrialState.COMPLETE
    assert violations(lab.told()[0])["measured"] > 0


def test_infeasible_stopped_early_keeps_what_it_measured(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    ledger.end(measured(0, speed=70.0))
    ledger.next()
    ledger.end(fake_result(fake_spec(1), Outcome.INFEASIBLE, kld_mean_nats=0.4))
    told = lab.told()[1]
    assert told.values == [70.0, 1e6, 0.4]
    assert violations(told)["measured"] > 0
    assert violations(told)["kld_mean_nats<=0.1"] == pytest.approx(3.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_value_that_is_no_number_is_told_as_the_worst(
    ledger: OpenLedger, lab: Any, value: float
) -> None:
    for number, (speed, kld) in enumerate([(100.0, 0.3), (50.0, 0.1)]):
        ledger.next()
        ledger.end(measured(number, speed, kld))
    for number, (speed, kld) in enumerate([(value, 0.05), (80.0, value)], 2):
        ledger.next()
        ledger.end(measured(number, speed, kld))
    told = lab.told()
    assert [t.state for t in told] == [TrialState.COMPLETE] * 4
    assert [t.values for t in told[2:]] == [[50.0, 1e6, 0.05], [80.0, 1e6, 0.3]]
    assert [violations(t)["measured"] > 0 for t in told] == [False, False, True, True]


def test_tell_after_a_death_between_two_constraints(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    frozen = ledger._study.get_trials(deepcopy=False)[0]
    optuna.trial.Trial(ledger._study, frozen._trial_id).set_constraint("measured", -1.0)
    ledger.end(measured(0))
    assert len(violations(lab.told()[0])) == 3


@pytest.mark.parametrize("slots", [1, 3])
def test_trials_are_those_that_optuna_itself_would_write(lab: Any, slots: int) -> None:
    plan = lab.plan()
    code = PoolCode(plan.pool.recipes, plan.registry.plugins)
    ledger = OpenLedger(plan, lab.url)
    plain = optuna.create_study(directions=[d.value for d in plan.directions])
    running: list[tuple[TrialResult, optuna.Trial]] = []
    for number in range(40):
        begun = ledger.next()
        flat = code.flat(Recipe.from_dict(begun.recipe))
        plain.enqueue_trial(flat)
        trial = plain.ask(code.distributions)
        draw = int(sha256_json(flat)[:4], 16) % 97
        running.append((measured(number, 100.0 + draw, draw / 100), trial))
        while len(running) >= slots:
            result, own = running.pop(0)
            ledger.end(result)
            own.set_constraint("measured", -1.0)
            plain.tell(own, [result.metrics[name].value for name in plan.objectives])
    ledger.close()
    theirs = plain.get_trials()
    for told, expected in zip(lab.told(), theirs, strict=True):
        seen = (told.number, told.state, told.values, told.params, told.distributions)
        assert seen == (
            expected.number,
            expected.state,
            expected.values,
            expected.params,
            expected.distributions,
        )
        assert told.constraints == expected.constraints
        assert told.datetime_start is not None


def test_trial_told_by_somebody_else_counts_for_the_worst(ledger: OpenLedger, lab: Any) -> None:
    for number, speed in enumerate((100.0, 20.0)):
        ledger.next()
        ledger.end(measured(number, speed))
    ledger.next()
    ledger.end(fake_result(fake_spec(2), Outcome.CRASHED))
    ledger.next()
    ledger._study.tell(3, [5.0, 1e6, 0.05])  # as Optuna's own commands could
    ledger.end(measured(3, 7.0))
    ledger.next()
    ledger.end(fake_result(fake_spec(4), Outcome.CRASHED))
    assert [t.values[0] for t in lab.told()] == [100.0, 20.0, 20.0, 5.0, 5.0]


def test_open_trials_are_those_asked_for_and_not_told(ledger: OpenLedger, lab: Any) -> None:
    for _ in range(3):
        ledger.next()
    ledger.end(measured(1))
    again = open_ledger(lab, constraints=CONSTRAINTS)
    assert again.open_trials() == [0, 2]
    again.close()


def test_trial_that_another_program_added_can_be_given_up(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    ledger._study.ask()
    assert ledger.open_trials() == [0, 1]
    ledger.give_up(1)
    assert [t.state for t in lab.told()] == [TrialState.RUNNING, TrialState.FAIL]
    assert ledger.open_trials() == [0]


def test_trials_that_another_program_adds_meanwhile_keep_their_numbers(
    ledger: OpenLedger, lab: Any
) -> None:
    ledger.next()
    for _ in range(2):
        ledger._study.ask()
    assert [ledger.next().number for _ in range(2)] == [3, 4]
    assert [t.number for t in lab.trials()] == [0, 3, 4]
    assert [t.number for t in lab.told()] == [0, 1, 2, 3, 4]
    ledger.end(measured(3))
    assert lab.told()[3].state is TrialState.COMPLETE


def test_trial_that_another_coordinator_has_begun_is_left_to_it(
    ledger: OpenLedger, lab: Any
) -> None:
    other = open_ledger(lab, constraints=CONSTRAINTS)
    other.next()
    with pytest.raises(StoreError, match=r"another process has begun trial 0 .* with --resume"):
        ledger.next()
    other.next()
    assert len(lab.told()) == len(lab.trials()) == 2
    other.close()


def test_begun_again_it_is_one_more_attempt(ledger: OpenLedger, lab: Any) -> None:
    trial = ledger.next()
    assert ledger.begin_again(trial)[0].attempts == 2
    assert len(lab.told()) == len(lab.trials()) == 1


class Forgetful(Store):
    """Its server carries out what it is asked, and breaks off before it can say so."""

    breaks = 0

    @contextmanager
    def _write(self) -> Iterator[Session]:
        with super()._write() as session:
            yield session
        if self.breaks:
            self.breaks -= 1
            raise StoreUnreachable("the server broke off")


def test_answers_that_are_lost_do_no_harm(lab: Any) -> None:
    store = Forgetful.open(lab.url, patience_seconds=60)
    ledger = OpenLedger(lab.plan(constraints=CONSTRAINTS), lab.url, store)
    store.breaks = 2
    trial = ledger.next()
    store.breaks = 2
    ledger.end(measured(0, speed=70.0))
    assert store.breaks == 0
    assert (trial.number, ledger.told) == (0, [[70.0, 1e6, 0.05]])
    assert [(t.number, t.values) for t in lab.told()] == [(0, [70.0, 1e6, 0.05])]
    assert [(t.number, t.result.outcome) for t in lab.trials()] == [(0, Outcome.OK)]
    assert ledger.next().number == 1
    ledger.close()


def test_study_that_another_program_deleted(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    recipe = ledger.ask()
    ledger._tables.delete_study(ledger._id)
    with pytest.raises(StoreError, match="a running trial is missing in Optuna's tables: another"):
        ledger.end(measured(0))
    with pytest.raises(StoreError, match="the study is missing in Optuna's tables: another"):
        ledger.begin(recipe)
    assert [(t.number, t.result) for t in lab.trials()] == [(0, None)]


def test_studies_of_one_database_do_not_mix(ledger: OpenLedger, lab: Any) -> None:
    ledger.next()
    other = open_ledger(lab, name="second")
    assert other.open_trials() == []
    assert (other.ask(), other.begin(Recipe())[0].number) == (Recipe(), 0)
    other.close()


def test_database_that_is_none(lab: Any) -> None:
    lab.file.write_bytes(b"this is no database, though it is long enough to look at" * 20)
    with pytest.raises(StoreError, match="is not an SQLite database; use another"):
        open_ledger(lab)


def test_database_of_another_version_of_optuna(lab: Any) -> None:
    connection = sqlite3.connect(lab.file)
    with connection:
        changed = connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        assert changed.rowcount == 1
    connection.close()
    with pytest.raises(StoreError, match="upgrade autotune and optuna"):
        open_ledger(lab)

"""What is written into Optuna's tables at once is what Optuna reads back, in both databases."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autotune.search.storage import open_storage
from autotune.search.trial_tables import close_trial, next_number, open_trial
from autotune.store import Store
from autotune.store.database import parse_url

DISTRIBUTIONS = {
    "quantize.scheme": CategoricalDistribution(("off", 'int8\'s "own" \\ é')),
    "prune.ratio": FloatDistribution(0.0, 0.9),
    "batch.size": IntDistribution(1, 64, log=True),
    "compile.on": CategoricalDistribution((False, True)),
}
PARAMS = {
    "quantize.scheme": 'int8\'s "own" \\ é',
    "prune.ratio": 0.1 + 0.2,
    "batch.size": 64,
    "compile.on": True,
}
ODD = "a log may hold \0, half a character \ud83d, 'quotes' and \"more\""


class Opened(NamedTuple):
    store: Store
    study: optuna.Study
    identity: int

    def open(self) -> tuple[int, int]:
        return self.store.write(
            partial(
                open_trial,
                study=self.identity,
                params=PARAMS,
                distributions=DISTRIBUTIONS,
                user_attributes={"recipe": ODD},
            )
        )

    def close(self, trial: int, values: list[float], words: dict[str, str]) -> bool:
        notes = create_trial(state=TrialState.RUNNING)
        notes.set_constraint("kld_mean_nats<=0.1", -0.25)
        return self.store.write(
            partial(close_trial, trial=trial, values=values, user_attributes=words, notes=notes)
        )

    def trials(self) -> list[FrozenTrial]:
        return self.study.get_trials()


@pytest.fixture
def opened(database: str) -> Iterator[Opened]:
    storage = open_storage(parse_url(database))
    study = optuna.create_study(storage=storage, study_name="s", directions=["maximize"] * 3)
    with Store.open(database) as store:
        yield Opened(store, study, storage.get_study_id_from_name("s"))
    storage.remove_session()
    storage.engine.dispose()


def test_opened_trial_runs_with_its_params(opened: Opened) -> None:
    assert [opened.open()[1] for _ in range(3)] == [0, 1, 2]
    assert opened.store.write(partial(next_number, study=opened.identity)) == 3
    for trial in opened.trials():
        assert trial.state is TrialState.RUNNING
        assert trial.params == PARAMS
        assert trial.distributions == DISTRIBUTIONS
        assert trial.user_attrs == {"recipe": ODD}
        assert trial.datetime_start is not None


def test_closed_trial_has_its_values_and_constraints(opened: Opened) -> None:
    trial, _ = opened.open()
    values = [0.1 + 0.2, float("inf"), float("-inf")]
    assert opened.close(trial, values, {"outcome": "ok", "explanation": ODD})
    (told,) = opened.trials()
    assert told.state is TrialState.COMPLETE
    assert told.values == values
    assert told.user_attrs == {"recipe": ODD, "outcome": "ok", "explanation": ODD}
    assert told.constraints == {"kld_mean_nats<=0.1": -0.25}
    assert told.datetime_complete is not None


def test_closed_again_it_stays_as_it_is(opened: Opened) -> None:
    trial, _ = opened.open()
    opened.close(trial, [1.0, 2.0, 3.0], {"outcome": "ok"})
    before = opened.trials()
    assert not opened.close(trial, [9.0, 9.0, 9.0], {"outcome": "crashed"})
    assert opened.trials() == before


def test_attribute_that_is_there_stays(opened: Opened) -> None:
    trial, _ = opened.open()
    opened.close(trial, [1.0, 2.0, 3.0], {"recipe": "another", "outcome": "ok"})
    assert opened.trials()[0].user_attrs == {"recipe": ODD, "outcome": "ok"}


def test_nothing_of_a_transaction_that_fails_stays(opened: Opened) -> None:
    def fail(session: object) -> None:
        open_trial(session, opened.identity, PARAMS, DISTRIBUTIONS, {})  # type: ignore[arg-type]
        raise RuntimeError("as a lost connection")

    with pytest.raises(RuntimeError, match="lost connection"):
        opened.store.write(fail)
    assert opened.trials() == []
    assert opened.open()[1] == 0

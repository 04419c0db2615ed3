"""A search becomes a table, and the real search runs on that table again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.execute.replay import ReplayExecutor
from autotune.messages import Measurement, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.search.loop import Search
from autotune.search.observer import Observer
from autotune.search.plan import Plan
from autotune.search.recording import recorded
from autotune.search.register import register
from autotune.store.records import TrialRecord
from autotune.store.store import Store
from autotune.tables import Table, read_table, write_table
from autotune.testing import fake_result
from laboratory import Lab

WHOLE = {"sampler": "random", "budget": {"trials": 1000}}
COSTS = {"lock": 3.0, "prepare": 8.0, "score": 4.0, "measure": 1.0}


@pytest.fixture
def plan(lab: Lab) -> Plan:
    made: Plan = lab.plan(**WHOLE)
    return made


def measured(lab: Lab, spec: TrialSpec) -> TrialResult:
    """With costs as a local executor has them, and an interval; one recipe crashes."""
    if spec.recipe == {"batch": {"size": 4}}:
        return fake_result(spec, Outcome.CRASHED)
    result: TrialResult = lab.measure(spec)
    warm = len(lab.specs) > 1 and lab.specs[-2].setup_key == spec.setup_key
    seconds = dict(COSTS)
    if warm:
        seconds["prepare"] = 0.1
    if result.accuracy_reused:
        del seconds["score"]
    speed = result.metrics["output_tokens_per_second"]
    assert speed.value is not None
    wide = {"ci_low": 0.9 * speed.value, "ci_high": 1.1 * speed.value}
    return result.model_copy(
        update={
            "warm": warm,
            "phase_seconds": seconds,
            "metrics": result.metrics
            | {"output_tokens_per_second": speed.model_copy(update=wide)},
        }
    )


@pytest.fixture
def table(lab: Lab, plan: Plan, tmp_path: Path) -> Table:
    """Recorded, written and read again."""
    lab.search(plan, lambda spec: measured(lab, spec))
    found = recorded(plan, lab.trials())
    assert found.notes == ()
    write_table(found.table, tmp_path / "first.csv")
    return read_table(tmp_path / "first.csv")


def test_every_recipe_of_the_pool_is_a_row(lab: Lab, plan: Plan, table: Table) -> None:
    assert {row.recipe_key for row in table.rows} == {r.key for r in plan.pool.recipes}
    assert table.params == (
        *("quantize.scheme", "quantize.group", "prune.ratio", "compile.on", "batch.size"),
    )
    assert [o.column for o in table.objectives] == [
        *("output_tokens_per_second+", "weights_bytes-", "kld_mean_nats-"),
    ]
    by_number = {t.recipe_key: t for t in lab.trials()}
    for row in table.rows:
        trial = by_number[row.recipe_key]
        assert row.outcome is trial.result.outcome
        assert (row.setup_key, row.output_key) == (trial.setup_key, trial.output_key)
        values = {n: m.value for n, m in trial.result.metrics.items()}
        assert row.metrics == (values if row.valid else {})


def test_row_of_a_failure_and_of_a_success(table: Table) -> None:
    rows = table.index()
    failed = table.rows[rows["none", 32, 0.0, False, 4]]
    assert (failed.outcome, failed.metrics) == (Outcome.CRASHED, {})
    speed = table.rows[rows["int4", 64, 0.2, True, 8]].intervals["output_tokens_per_second"]
    assert speed == pytest.approx((0.9 * 530.33, 1.1 * 530.33), rel=1e-4)


def test_costs_are_those_of_a_cold_trial(lab: Lab, table: Table) -> None:
    """Whoever found a process warm or an accuracy known is given what a sibling paid."""
    spared = [t for t in lab.trials() if t.result.warm or t.result.accuracy_reused]
    assert len(spared) > 10
    for row in table.rows:
        if row.valid:
            assert row.phase_seconds == {"prepare": 8.0, "score": 4.0, "measure": 1.0}


def test_trial_without_an_objective_is_left_out_and_said(lab: Lab) -> None:
    plan = lab.plan("batch", **WHOLE)

    def run(spec: TrialSpec) -> TrialResult:
        result: TrialResult = lab.measure(spec)
        gone = Measurement.unavailable("B", "nobody looked")
        more: dict[int, dict[str, Any]] = {
            4: {"fallbacks": ("asked for fast, ran slow",)},
            8: {"metrics": result.metrics | {"weights_bytes": gone}},
        }
        return result.model_copy(update=more.get(spec.recipe.get("batch", {}).get("size"), {}))

    lab.search(plan, run)
    found = recorded(plan, lab.trials())
    assert sorted(row.params for row in found.table.rows) == [(1,), (2,), (4,)]
    notes = "\n".join(found.notes)
    assert len(found.notes) == 2
    assert "left out: weights_bytes was not measured: nobody looked" in notes
    assert "fell back: asked for fast, ran slow" in notes


def replayed(lab: Lab, plan: Plan, executor: ReplayExecutor) -> list[TrialRecord]:
    """The trials of the real search on the table."""
    with Store.open(lab.url) as store:
        register(plan, store, resume=False)
        Search(plan, store, lab.url, lambda _: executor, Observer()).run()
        return store.trials(plan.name)


def test_the_real_search_runs_on_a_recorded_table(lab: Lab, table: Table) -> None:
    executor = ReplayExecutor(table, 2)
    again = lab.plan(name="again", budget={"trials": 30}, sampler="tpe")
    before = len(lab.specs)
    trials = replayed(lab, again, executor)
    assert len(lab.specs) == before, "nothing was measured again"
    assert len({t.recipe_key for t in trials}) == 30
    original = {t.recipe_key: t.result for t in lab.trials()}
    for trial in trials:
        assert trial.result is not None
        assert trial.result.outcome is original[trial.recipe_key].outcome
        for name, found in trial.result.metrics.items():
            assert found.value == original[trial.recipe_key].metrics[name].value
    cold = sum(row.seconds() for row in table.rows if row.recipe_key in original) / len(original)
    assert 0 < executor.now_seconds < 30 * cold / 2, "warm sessions and known accuracy are free"


def test_the_real_search_survives_workers_that_die(lab: Lab, table: Table) -> None:
    again = lab.plan(name="again", budget={"trials": 30})
    executor = ReplayExecutor(table, 2, loss_ratio=0.2, seed=2)  # 1 kills the baseline's
    trials = replayed(lab, again, executor)
    outcomes = [t.result.outcome for t in trials if t.result]
    assert Outcome.LOST in outcomes
    assert len(outcomes) == 30

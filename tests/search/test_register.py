"""Whether a study may begin or go on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from autotune.environment import ENV_ID, describe_environment, env_id
from autotune.errors import InputError
from autotune.messages import TrialResult, TrialSpec
from autotune.params import Choice, Int, Param, Stage
from autotune.registry import Registry
from autotune.search.plan import Plan
from autotune.search.register import changed_keys, register
from autotune.store.lock import study_lock
from autotune.store.records import StudyState
from autotune.store.store import Store

Failing = Callable[..., Callable[[TrialSpec], TrialResult]]


def recipes(lab: Any) -> list[str]:
    return [t.recipe_key for t in lab.trials()]


def outcomes(lab: Any) -> list[str]:
    return [str(t.result.outcome) for t in lab.trials() if t.result]


def interrupt_after(lab: Any, count: int) -> Callable[[TrialSpec], TrialResult]:
    """Ctrl-C while a trial runs, after so many are measured."""

    def run(spec: TrialSpec) -> TrialResult:
        if len(lab.specs) == count:
            raise KeyboardInterrupt
        result: TrialResult = lab.measure(spec)
        return result

    return run


SMALL = ("compile", "batch")
"""Plugins of a pool of eight recipes."""


def test_existing_study_asks_for_resume(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 1}))
    with pytest.raises(InputError, match=r"'first' exists already \(finished\).*--resume"):
        lab.search(lab.plan(*SMALL, budget={"trials": 2}))


def test_a_resume_goes_on_with_the_latest_budget(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 1}))
    lab.search(lab.plan(*SMALL, budget={"trials": 2}), resume=True)
    with Store.open(lab.url) as store:
        assert store.study("first").definition["budget"]["trials"] == 2


def test_existing_study_with_another_definition_names_the_keys(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 1}))
    plan = lab.plan(*SMALL, seed=3, workload={"new_tokens": 9}, budget={"trials": 2})
    for resume in (True, False):
        with pytest.raises(InputError, match="another definition: seed, workload differ"):
            lab.search(plan, resume=resume)
    assert len(lab.trials()) == 1


def test_resume_with_other_objectives_is_refused(lab: Any) -> None:
    lab.search(lab.plan(*SMALL, budget={"trials": 2}))
    plan = dataclasses.replace(
        lab.plan(*SMALL, budget={"trials": 2}), objectives=("weights_bytes",)
    )
    with pytest.raises(InputError, match="begun with the objectives output_tokens_per_second, w"):
        lab.search(plan, resume=True)


def test_resume_without_a_study_begins_one(lab: Any) -> None:
    assert (
        lab.search(lab.plan(*SMALL, budget={"trials": 2}), resume=True).state
        is StudyState.FINISHED
    )


def with_params(plan: Plan, name: str, **params: Param) -> Plan:
    """The plan after an upgrade of one plugin."""
    old = plan.registry.plugins[name]
    upgraded = type("Upgraded", (type(old),), {"params": {**old.params, **params}})
    plugins = {**plan.registry.plugins, name: upgraded()}
    return dataclasses.replace(plan, registry=Registry(plugins, plan.registry.distributions))


def test_definition_holds_what_the_plugins_offer(lab: Any) -> None:
    offered = {
        "compile": {"on": "False, True (setup)"},
        "batch": {"size": "1 to 8, searched by doubling (run)"},
    }
    assert offered in lab.plan(*SMALL).definition().values()


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    "params",
    [
        {"on": Choice(False, True, "max", default=False, stage=Stage.SETUP)},
        {"on": Choice(False, True, default=False, stage=Stage.MODEL)},
        {"level": Int(1, 3, default=1, stage=Stage.SETUP)},
    ],
    ids=["a new value", "another stage", "a new param"],
)
def test_existing_study_of_other_params_is_refused(
    lab: Any, params: dict[str, Param], resume: bool
) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 1})
    lab.search(plan)
    before = (lab.study(), lab.trials(), lab.told())
    upgraded = with_params(plan, "compile", **params)
    (key,) = changed_keys(plan.definition(), upgraded.definition())
    with Store.open(lab.url) as store, pytest.raises(InputError) as caught:
        register(upgraded, store, resume=resume)
    assert f"another definition: {key} differ" in str(caught.value)
    assert "plugins" in str(caught.value)
    assert (lab.study(), lab.trials(), lab.told()) == before
    lab.search(plan, resume=True)


def test_study_of_another_environment_goes_on_only_when_that_is_allowed(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 1})
    with Store.open(lab.url) as store:
        elsewhere = {**describe_environment(plan.device), "cpu_model": "Abacus 3"}
        elsewhere[ENV_ID] = env_id(elsewhere)
        store.create_study(plan.name, plan.definition(), plan.objectives, (), elsewhere)
        with pytest.raises(InputError, match=r"cpu_model differs: then Abacus 3.*--allow"):
            register(plan, store, resume=True)
        (line,) = register(plan, store, resume=True, allow_different_env=True)
    assert line.startswith("cpu_model differs: then Abacus 3, now ")


def test_notes_of_earlier_runs_stay(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 1})
    lab.search(dataclasses.replace(plan, notes=("measured elsewhere",)))
    more = lab.plan(*SMALL, budget={"trials": 2})
    lab.search(dataclasses.replace(more, notes=("here again",)), resume=True)
    assert lab.study().notes == ("measured elsewhere", "here again")


def test_changed_keys() -> None:
    assert changed_keys({"a": 1, "b": 2}, {"b": 3, "c": 4}) == ["a", "b", "c"]
    later = {"allow_pickle": False, "seed": 1}
    assert changed_keys({}, later) == ["seed"], "a key of later versions has its default"
    assert changed_keys({"a": [1]}, {"a": [1]}) == []


def test_second_coordinator_is_refused(lab: Any) -> None:
    plan = lab.plan(*SMALL, budget={"trials": 3})
    lock = study_lock(lab.url, plan.name)
    lock.acquire()
    with pytest.raises(InputError, match="another process is running the study 'first'"):
        lab.search(plan)
    lock.release()
    assert lab.trials() == []
    lab.search(plan, resume=True)
    assert len(lab.trials()) == 3

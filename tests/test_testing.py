"""The contracts hold for what is built in, and catch what is broken."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from autotune.device import Device
from autotune.outcome import Outcome
from autotune.params import Choice, Params, Stage
from autotune.plugin import Estimate, ModelConfig, Phase, Plugin, Requires, Unsupported
from autotune.testing import (
    PluginContract,
    broken_rules,
    fake_device,
    fake_result,
    fake_spec,
)

COUNTER = itertools.count()


class Good(Plugin):
    """Does a thing."""

    name = "good"
    params: ClassVar = {"x": Choice(0, 1, default=0, stage=Stage.MODEL)}


def changed(**attributes: Any) -> Callable[[], PluginContract]:
    """A contract for a plugin that is good but for the attributes."""
    broken = type("Broken", (Good,), {"__doc__": "Does a thing.", **attributes})
    return type("Contract", (PluginContract,), {"plugin": broken})


def _raise(error: Exception) -> Callable[..., None]:
    def hook(*_: object) -> None:
        raise error

    return hook


def _grow(self: Plugin, params: dict[str, Any]) -> dict[str, str]:
    params["x"] = 5
    return {}


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "refused": ({"name": "Bad"}, "test_is_accepted_at_registration"),
    "no sentence": ({"__doc__": "A thing"}, "test_says_in_one_sentence_what_it_does"),
    "two sentences": ({"__doc__": "A. B."}, "test_says_in_one_sentence_what_it_does"),
    "always off": (
        {"params": {"x": Choice(0, default=0, stage=Stage.MODEL)}},
        "test_defaults_are_off_and_off_is_the_baseline",
    ),
    "env of numbers": ({"env": lambda self, p: {"N": 1}}, "test_env_is_text"),
    "tuple": ({"load_args": lambda self, p: {"a": (1, 2)}}, "test_arguments_are_json"),
    "object": ({"run_args": lambda self, p: {"a": object()}}, "test_arguments_are_json"),
    "key": ({"run_args": lambda self, p: {1: 1}}, "test_arguments_are_json"),
    "check fails": ({"check": _raise(KeyError("x"))}, "test_check_refuses_with_a_reason"),
    "no reason": ({"check": _raise(Unsupported(""))}, "test_check_refuses_with_a_reason"),
    "refuses all": ({"check": _raise(Unsupported("no"))}, "test_accepts_its_models_somewhere"),
    "counts": ({"run_args": lambda self, p: {"n": next(COUNTER)}}, "test_hooks_are_pure"),
    "mutates": ({"env": _grow}, "test_hooks_are_pure"),
    "zero": (
        {"estimate": lambda self, p, c: Estimate(flops=0.0)},
        "test_estimate_gives_positive_factors",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_contract_catches(name: str) -> None:
    attributes, test = BROKEN[name]
    contract = changed(**attributes)()
    method = next(getattr(contract, m) for m in dir(contract) if m.startswith(test))
    with pytest.raises((AssertionError, TypeError, ValueError, KeyError)):
        method()


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_of_an_installed_plugin_is_told(name: str) -> None:
    attributes, test = BROKEN[name]
    broken = broken_rules(changed(**attributes).plugin)
    told = [rule for rule in broken if f"test_{rule.replace(' ', '_')}".startswith(test)]
    assert bool(told) == (name != "refuses all"), broken  # a plugin may refuse a model
    assert all(broken.values())


def test_good_plugin_breaks_no_rule() -> None:
    assert broken_rules(changed().plugin) == {}


def test_contract_catches_a_heavy_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("", encoding="utf-8")  # the name is what counts
    (tmp_path / "heavy_plugin.py").write_text("import torch", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    contract = changed(__module__="heavy_plugin")()
    with pytest.raises(AssertionError, match="import torch inside the hooks"):
        contract.test_import_loads_no_heavy_library()


def test_contract_asks_only_devices_that_are_possible() -> None:
    def check(self: Plugin, params: Params, config: ModelConfig, device: Device) -> None:
        assert device.kind == "cuda"
        assert device.compute_capability == (9, 0)

    changed(check=check, requires=Requires(device="cuda"))().test_hooks_are_pure()


def test_contract_of_a_plugin_that_recovers_gives_it_something_to_recover() -> None:
    contract = changed(phase=Phase.RECOVER)()
    contract.test_every_variant_is_json_and_survives_a_recipe()
    contract.test_defaults_are_off_and_off_is_the_baseline()


def test_fakes() -> None:
    assert fake_device().kind == "cpu"
    assert fake_device("cuda").compute_capability == (9, 0)
    result = fake_result(fake_spec(4), kld_mean_nats=0.25)
    assert (result.number, result.outcome) == (4, Outcome.OK)
    assert result.metrics["kld_mean_nats"].unit == "nat"
    assert fake_result(fake_spec(), Outcome.CRASHED).explanation

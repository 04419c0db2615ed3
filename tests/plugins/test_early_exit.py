from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.errors import InputError
from autotune.params import Scalar
from autotune.plugin import Unsupported
from autotune.recipe import Recipe, keys
from autotune_plugins.compile import Compile
from autotune_plugins.early_exit import EarlyExit

SURE: dict[str, Scalar] = {"confidence": 0.9, "first_layer": 0.5, "places": "first"}


def test_exits_are_asked_of_the_engine_and_change_the_output_alone() -> None:
    asked = {"exit_confidence": 0.9, "exit_share": 0.5, "exit_places": "first"}
    assert EarlyExit().run_args(SURE) == asked
    plugins = {"early_exit": EarlyExit()}
    recipes = [Recipe.of({"early_exit": given}, plugins) for given in ({}, SURE)]
    off, on = (keys(recipe, plugins, {}) for recipe in recipes)
    assert off.setup_key == on.setup_key
    assert off.output_key != on.output_key
    every = Recipe.of({"early_exit": {**SURE, "places": "every"}}, plugins)
    assert keys(every, plugins, {}).output_key != on.output_key


def test_models_that_cannot_be_asked_are_refused(cpu: Device) -> None:
    EarlyExit().check(SURE, {"model_type": "llama", "num_hidden_layers": 2}, cpu)
    EarlyExit().check(SURE, {"model_type": "gpt2", "n_layer": 12}, cpu)
    with pytest.raises(Unsupported, match="how a 'granite' model gets from its layers"):
        EarlyExit().check(SURE, {"model_type": "granite", "num_hidden_layers": 8}, cpu)
    shallow = {"model_type": "llama", "num_hidden_layers": 2}
    with pytest.raises(Unsupported, match=r"0\.75 of 2 layers are all of them"):
        EarlyExit().check({**SURE, "first_layer": 0.75}, shallow, cpu)
    with pytest.raises(Unsupported, match="a model of 2 layers has only one place to ask at"):
        EarlyExit().check({**SURE, "places": "every"}, shallow, cpu)


def test_a_compiled_model_cannot_be_asked() -> None:
    plugins = {"early_exit": EarlyExit(), "compile": Compile()}
    with pytest.raises(InputError, match="conflict"):
        Recipe.of({"early_exit": SURE, "compile": {"mode": "default"}}, plugins)

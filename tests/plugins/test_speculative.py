from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune.recipe import Recipe, keys
from autotune_plugins.speculative import Speculative


def test_guesses_are_asked_of_the_engine_and_change_no_number() -> None:
    assert Speculative().run_args({"method": "prompt_lookup", "tokens": 8}) == {"draft_tokens": 8}
    own = {"method": "self_draft", "tokens": 4, "layers": 0.25}
    assert Speculative().run_args(own) == {"draft_tokens": 4, "draft_layers": 0.25}
    plugins = {"speculative": Speculative()}
    on = Recipe.of({"speculative": {"method": "prompt_lookup"}}, plugins)
    off = Recipe.of({}, plugins)
    assert keys(on, plugins, {}).output_key == keys(off, plugins, {}).output_key
    assert keys(on, plugins, {}).setup_key == keys(off, plugins, {}).setup_key


def test_models_whose_cache_cannot_forget_are_refused(cpu: Device) -> None:
    guess = {"method": "prompt_lookup", "tokens": 4}
    for config in (
        {"layer_types": ["full_attention", "sliding_attention"]},
        {"sliding_window": 4096},
        {"sliding_window": 4096, "use_sliding_window": True},
    ):
        with pytest.raises(Unsupported, match="do not attend to all tokens"):
            Speculative().check(guess, config, cpu)
    for config in (
        {"layer_types": ["full_attention"], "sliding_window": 4096},
        {"sliding_window": None},
        {"sliding_window": 4096, "use_sliding_window": False},
    ):
        Speculative().check(guess, config, cpu)


def test_a_part_is_made_of_known_models(cpu: Device) -> None:
    own = {"method": "self_draft", "tokens": 4, "layers": 0.5}
    Speculative().check(own, {"model_type": "llama"}, cpu)
    with pytest.raises(Unsupported, match="the layers of a 'opt' model are not known here"):
        Speculative().check(own, {"model_type": "opt"}, cpu)

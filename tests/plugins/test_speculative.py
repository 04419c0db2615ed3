from __future__ import annotations

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

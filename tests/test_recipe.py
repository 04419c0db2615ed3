"""Recipes: canonical, hashable, and the three keys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import pytest

from autotune.errors import InputError
from autotune.hashing import canonical_json, sha256_json
from autotune.params import Choice, Float, Int, Params, Scalar, Stage
from autotune.plugin import Phase, Plugin
from autotune.recipe import Recipe, RecipeKeys, describe, keys


class Precision(Plugin):
    """Changes the numbers."""

    name = "precision"
    params: ClassVar = {"dtype": Choice("auto", "bf16", default="auto", stage=Stage.MODEL)}


class Quantize(Plugin):
    """Has a conditional param and a param of another stage."""

    name = "quantize"
    params: ClassVar = {
        "scheme": Choice("none", "int8", "int4", default="none", stage=Stage.MODEL),
        "group": Choice(32, 64, default=32, stage=Stage.MODEL, when={"scheme": "int4"}),
        "clip": Float(0.5, 1.0, default=1.0, step=0.25, stage=Stage.MODEL),
        "kernel": Choice("a", "b", default="a", stage=Stage.SETUP),
    }


class Compile(Plugin):
    """Changes the process only."""

    name = "compile"
    params: ClassVar = {"mode": Choice("off", "max", default="off", stage=Stage.SETUP)}
    conflicts = ("eager",)


class Eager(Plugin):
    """Says nothing of its conflict with compile."""

    name = "eager"
    params: ClassVar = {"on": Choice(False, True, default=False, stage=Stage.RUN)}


class Batch(Plugin):
    """Changes the run only."""

    name = "batch"
    params: ClassVar = {"size": Int(1, 64, default=1, log=True, stage=Stage.RUN)}


class Cache(Plugin):
    """Changes the run, and loses accuracy."""

    name = "cache"
    params: ClassVar = {"bits": Choice(16, 4, default=16, stage=Stage.RUN, affects_accuracy=True)}


class Prune(Plugin):
    """Changes the structure."""

    name = "prune"
    params: ClassVar = {"ratio": Float(0.0, 0.5, default=0.0, step=0.5, stage=Stage.MODEL)}
    phase = Phase.STRUCTURE


class Distill(Plugin):
    """Recovers."""

    name = "distill"
    params: ClassVar = {"steps": Int(0, 100, default=0, step=50, stage=Stage.MODEL)}
    phase = Phase.RECOVER


PLUGINS: dict[str, Plugin] = {
    p.name: p
    for p in (Precision(), Quantize(), Compile(), Eager(), Batch(), Cache(), Prune(), Distill())
}


def recipe(**given: Params) -> Recipe:
    return Recipe.of(given, PLUGINS)


def keys_of(versions: Mapping[str, str] | None = None, **given: Params) -> RecipeKeys:
    return keys(recipe(**given), PLUGINS, versions or {})


BASELINE = keys_of()


def test_of_completes_defaults_and_sorts() -> None:
    found = recipe(quantize={"scheme": "int4"}, batch={"size": 8})
    assert list(found.to_dict()) == ["batch", "quantize"]
    assert found.to_dict()["quantize"] == {
        "scheme": "int4",
        "group": 32,
        "clip": 1.0,
        "kernel": "a",
    }


def test_of_refuses_what_would_have_no_effect() -> None:
    with pytest.raises(InputError, match="has no effect: it needs") as caught:
        recipe(quantize={"scheme": "int8", "group": 64})
    assert "quantize.scheme = int4, here quantize.scheme = int8" in str(caught.value)
    assert recipe(quantize={"scheme": "int8", "group": 32}) == recipe(quantize={"scheme": "int8"})


@pytest.mark.parametrize(
    "off", [{}, {"scheme": "none"}, {"scheme": "none", "group": 32}, {"clip": 1.0}, {"clip": 1}]
)
def test_of_drops_a_plugin_that_is_off(off: dict[str, Scalar]) -> None:
    assert recipe(quantize=off).is_baseline
    assert recipe(quantize=off) == Recipe()


def test_recipes_that_mean_the_same_are_equal() -> None:
    one = recipe(quantize={"scheme": "int8", "clip": 1}, batch={"size": 2})
    other = recipe(batch={"size": 2}, quantize={"clip": 1.0, "scheme": "int8", "kernel": "a"})
    assert one == other
    assert len({one, other}) == 1
    assert one.key == other.key
    assert one.key != recipe(batch={"size": 2}).key


def test_recipe_survives_a_round_trip() -> None:
    found = recipe(quantize={"scheme": "int4", "clip": 0.75}, eager={"on": True})
    assert Recipe.from_dict(found.to_dict()) == found
    assert Recipe.of(found.to_dict(), PLUGINS) == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"quantise": {}}, "no plugin named 'quantise'; did you mean 'quantize'"),
        ({"batch": {"sise": 2}}, "no param of plugin 'batch' named 'sise'; did you mean 'size'"),
        ({"quantize": {"scheme": "int9"}}, "value of quantize.scheme named 'int9'; did you mean"),
        (
            {"batch": {"size": 0}},
            "no value of batch.size 0; allowed: 1 to 64, searched by doubling",
        ),
        ({"batch": {"size": 2.0}}, "no value of batch.size 2.0"),
        ({"batch": {"size": True}}, "no value of batch.size True"),
        ({"quantize": {"clip": math.nan}}, "no value of quantize.clip nan"),
        (
            {"batch": {"size": "2"}},
            "no value of batch.size '2'; allowed: 1 to 64, searched by doubling",
        ),
    ],
)
def test_of_refuses(given: dict[str, Params], words: str) -> None:
    with pytest.raises(InputError) as caught:
        Recipe.of(given, PLUGINS)
    assert words in str(caught.value)


def test_of_refuses_a_conflict_whoever_declares_it() -> None:
    both: list[dict[str, Params]] = [
        {"compile": {"mode": "max"}, "eager": {"on": True}},
        {"eager": {"on": True}, "compile": {"mode": "max"}},
    ]
    for given in both:
        with pytest.raises(InputError, match="'compile' and 'eager' conflict"):
            Recipe.of(given, PLUGINS)
    assert not recipe(compile={"mode": "max"}, eager={"on": False}).is_baseline


def test_of_refuses_to_recover_what_nothing_has_changed() -> None:
    with pytest.raises(InputError, match=r"'distill' has nothing to recover.*such as prune"):
        recipe(distill={"steps": 50}, batch={"size": 2})
    with pytest.raises(InputError, match="nothing to recover"):
        recipe(distill={"steps": 50}, prune={"ratio": 0.0})
    assert recipe(distill={"steps": 0}).is_baseline
    both = recipe(distill={"steps": 50}, prune={"ratio": 0.5})
    assert list(both.to_dict()) == ["distill", "prune"]


def test_describe_puts_the_telling_word_first() -> None:
    assert str(Recipe()) == "baseline"
    assert str(recipe(batch={"size": 8}, compile={"mode": "max"})) == "batch size=8 · compile max"
    assert describe({"quantize": {"group": 32, "scheme": "int4"}}) == "quantize int4 group=32"


def test_batch_changes_neither_output_nor_setup() -> None:
    found = keys_of(batch={"size": 8})
    assert (found.output_key, found.setup_key) == (BASELINE.output_key, BASELINE.setup_key)
    assert found.recipe_key != BASELINE.recipe_key


def test_compile_changes_the_setup_only() -> None:
    found = keys_of(compile={"mode": "max"})
    assert found.output_key == BASELINE.output_key
    assert found.setup_key != BASELINE.setup_key


def test_precision_changes_output_and_setup() -> None:
    found = keys_of(precision={"dtype": "bf16"})
    assert found.output_key != BASELINE.output_key
    assert found.setup_key != BASELINE.setup_key


def test_lossy_run_param_changes_the_output_only() -> None:
    found = keys_of(cache={"bits": 4})
    assert found.output_key != BASELINE.output_key
    assert found.setup_key == BASELINE.setup_key


def test_setup_param_of_a_model_plugin_leaves_the_output() -> None:
    one = keys_of(quantize={"scheme": "int8"})
    other = keys_of(quantize={"scheme": "int8", "kernel": "b"})
    assert one.output_key == other.output_key
    assert one.setup_key != other.setup_key
    alone = keys_of(quantize={"kernel": "b"})
    assert alone.output_key == BASELINE.output_key


def test_new_version_of_a_plugin_is_a_new_output_only_where_it_is_used() -> None:
    old, new = {"quantize": "x 1"}, {"quantize": "x 2"}
    used: dict[str, Params] = {"quantize": {"scheme": "int8"}}
    assert keys_of(old, **used).output_key != keys_of(new, **used).output_key
    assert keys_of(old, batch={"size": 2}) == keys_of(new, batch={"size": 2})


def test_keys_are_the_same_in_every_process() -> None:
    assert keys_of(precision={"dtype": "bf16"}, batch={"size": 4}) == RecipeKeys(
        output_key=sha256_json([{"precision": {"dtype": "bf16"}}, {"precision": ""}])[:16],
        setup_key=sha256_json({"precision": {"dtype": "bf16"}})[:16],
        recipe_key=sha256_json({"batch": {"size": 4}, "precision": {"dtype": "bf16"}})[:16],
    )


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": [1.0, True]}) == '{"a":[1.0,true],"b":1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json({"a": math.nan})

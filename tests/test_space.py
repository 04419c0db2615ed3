"""The pool: conditions, restrictions, refusals, conflicts, samples; and merging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from autotune import space
from autotune.device import Device
from autotune.errors import InputError, PluginError
from autotune.params import Choice, Float, Int, Params, Scalar, Stage
from autotune.plugin import ModelConfig, Phase, Plugin, Requires, Unsupported
from autotune.recipe import Recipe
from autotune.registry import Registry
from autotune.space import Pool, Restrictions, build_pool, merge, missing, variants
from autotune.testing import FakePruning, fake_device


class Quantize(Plugin):
    """Has a conditional param."""

    name = "quantize"
    params: ClassVar = {
        "scheme": Choice("none", "int8", "int4", default="none", stage=Stage.MODEL),
        "group": Choice(32, 64, default=32, stage=Stage.MODEL, when={"scheme": "int4"}),
    }

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        if int(model_config.get("hidden_size", 64)) % int(params.get("group", 1)):
            raise Unsupported("hidden_size is no multiple of the group")

    def load_args(self, params: Params) -> dict[str, Any]:
        return {"scheme": params["scheme"], "shared": 1}


class Batch(Plugin):
    """Takes several prompts."""

    name = "batch"
    params: ClassVar = {"size": Int(1, 8, default=1, log=True, stage=Stage.RUN)}

    def load_args(self, params: Params) -> dict[str, Any]:
        return {"size": params["size"], "shared": params["size"]}


class Compile(Plugin):
    """Compiles."""

    name = "compile"
    params: ClassVar = {"on": Choice(False, True, default=False, stage=Stage.SETUP)}


def pool_of(
    *plugins: Plugin,
    restrictions: Restrictions | None = None,
    config: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Pool:
    return build_pool(
        Registry({p.name: p for p in plugins}),
        restrictions or {},
        task="causal-lm",
        model_config=config or {},
        device=fake_device(),
        seed=seed,
    )


def test_variants_respect_conditions() -> None:
    assert list(variants(Quantize(), {})) == [
        {"scheme": "none"},
        {"scheme": "int8"},
        {"scheme": "int4", "group": 32},
        {"scheme": "int4", "group": 64},
    ]


def test_variants_of_chained_conditions() -> None:
    class Chain(Plugin):
        """Has a condition on a conditional param."""

        name = "chain"
        params: ClassVar = {
            "a": Choice(0, 1, default=0, stage=Stage.RUN),
            "b": Choice(0, 1, default=0, stage=Stage.RUN, when={"a": 1}),
            "c": Choice(0, 1, default=0, stage=Stage.RUN, when={"b": 1}),
        }

    assert list(variants(Chain(), {})) == [
        {"a": 0},
        {"a": 1, "b": 0},
        {"a": 1, "b": 1, "c": 0},
        {"a": 1, "b": 1, "c": 1},
    ]


def test_pool_holds_every_combination_once_and_the_baseline_first() -> None:
    pool = pool_of(Quantize(), Batch())
    assert pool.recipes[0] == Recipe()
    assert len(pool.recipes) == len(set(pool.recipes)) == pool.combinations == 4 * 4
    plugins = {"quantize": Quantize(), "batch": Batch()}
    assert all(Recipe.of(r.to_dict(), plugins) == r for r in pool.recipes)


def test_pool_of_no_plugins_is_the_baseline() -> None:
    assert pool_of().recipes == (Recipe(),)


def test_restrictions_narrow_and_still_hold_the_baseline() -> None:
    pool = pool_of(Quantize(), Batch(), restrictions={"batch": {"size": (4, 8, 4)}})
    assert {r.to_dict().get("batch", {}).get("size", 1) for r in pool.recipes} == {1, 4, 8}
    assert pool.recipes[0].is_baseline
    assert len(pool.recipes) == 4 * 3


def test_restriction_off_the_grid_is_allowed_within_the_range() -> None:
    pool = pool_of(Batch(), restrictions={"batch": {"size": (3,)}})
    assert [r.to_dict() for r in pool.recipes] == [{}, {"batch": {"size": 3}}]


def test_values_of_a_choice_keep_their_types() -> None:
    class Mixed(Plugin):
        """Has numbers of both kinds, and a word."""

        name = "mixed"
        params: ClassVar = {"x": Choice(0.0, 1, "a", default=0.0, stage=Stage.RUN)}

    for restrictions in ({}, {"mixed": {"x": (0.0, 1, "a")}}):
        pool = pool_of(Mixed(), restrictions=restrictions)
        values = [r.to_dict()["mixed"]["x"] for r in pool.recipes[1:]]
        assert [(type(v), v) for v in values] == [(int, 1), (str, "a")]
    one = Recipe.of({"mixed": {"x": 1}}, {"mixed": Mixed()}).to_dict()
    assert type(one["mixed"]["x"]) is int


@pytest.mark.parametrize(
    ("restriction", "words"),
    [
        ({"sise": (1,)}, "no param of plugin 'batch' named 'sise'; did you mean 'size'"),
        ({"size": (99,)}, "no value of batch.size 99"),
        ({"size": ()}, "batch.size allows no value"),
    ],
)
def test_restrictions_are_checked(restriction: dict[str, tuple[Scalar, ...]], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pool_of(Batch(), restrictions={"batch": restriction})


def test_refused_values_are_left_out_with_their_reason() -> None:
    pool = pool_of(Quantize(), config={"hidden_size": 96})
    assert [(r.plugin, r.params, r.reason) for r in pool.refusals] == [
        ("quantize", {"scheme": "int4", "group": 64}, "hidden_size is no multiple of the group")
    ]
    assert len(pool.recipes) == 3


def test_check_that_raises_something_else_names_the_plugin() -> None:
    with pytest.raises(PluginError, match=r"plugin 'quantize' failed in check\(.*ValueError"):
        pool_of(Quantize(), config={"hidden_size": "wide"})


def with_requires(requires: Requires) -> Plugin:
    kind = type("Needy", (Compile,), {"__doc__": "Needs.", "requires": requires})
    plugin: Plugin = kind()
    return plugin


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        (Requires(), ""),
        (Requires(device="cpu"), ""),
        (Requires(device="cuda"), "needs a cuda device, this study runs on cpu"),
        (Requires(tasks=("causal-lm",)), ""),
        (Requires(tasks=("feature-extraction",)), "knows the tasks feature-extraction"),
        (Requires(packages=("json",)), ""),
        (Requires(packages=("no_such_package",)), "pip install no_such_package"),
        (Requires(packages=("nope.sub",)), "needs the package 'nope.sub'"),
        (Requires(packages=("json.decoder.sub",)), "needs the package 'json.decoder.sub'"),
    ],
)
def test_missing_says_what(requires: Requires, reason: str) -> None:
    found = missing(with_requires(requires), "causal-lm", fake_device())
    assert reason in found
    assert bool(found) == bool(reason)


class Parallel(Plugin):
    """Takes several GPUs."""

    name = "parallel"
    params: ClassVar = {"degree": Choice(1, 2, 4, default=1, stage=Stage.SETUP)}

    def gpus(self, params: Params) -> int:
        """One for each part."""
        return int(params["degree"])


@pytest.mark.parametrize(
    ("device", "degrees", "reason"),
    [
        (fake_device("cuda").model_copy(update={"count": 8}), [2, 4], None),
        (
            fake_device("cuda").model_copy(update={"count": 2}),
            [2],
            "needs 4 GPUs on one host, here are 2",
        ),
        (fake_device(), [], "needs 2 GPUs on one host, here are 0"),
    ],
)
def test_params_that_take_more_gpus_than_a_host_has_are_refused(
    device: Device, degrees: list[int], reason: str | None
) -> None:
    registry = Registry({"parallel": Parallel()}, {"parallel": "fake 1"})
    pool = build_pool(registry, {}, task="causal-lm", model_config={}, device=device, seed=0)
    found = [recipe.to_dict()["parallel"]["degree"] for recipe in pool.recipes[1:]]
    assert found == degrees
    assert (pool.refusals[0].reason if pool.refusals else None) == reason


def test_missing_requirement_switches_the_plugin_off_without_asking_it() -> None:
    class Cuda(Quantize):
        """Only on a GPU; asking it here would be an error."""

        requires = Requires(device="cuda")

        def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
            raise AssertionError("asked")

    pool = pool_of(Cuda())
    assert pool.recipes == (Recipe(),)
    assert [r.params for r in pool.refusals] == [{}]


@pytest.mark.parametrize("declaring", ["quantize", "compile"])
def test_conflicts_are_symmetric(declaring: str) -> None:
    quantize, compile_ = Quantize(), Compile()
    both: dict[str, Plugin] = {"quantize": quantize, "compile": compile_}
    other = "compile" if declaring == "quantize" else "quantize"
    both[declaring].conflicts = (other, "not_installed")  # type: ignore[misc]
    pool = pool_of(*both.values(), Batch())
    assert all(len({"quantize", "compile"} & set(r.to_dict())) < 2 for r in pool.recipes)
    assert len(pool.recipes) == (4 + 2 - 1) * 4
    assert pool.combinations == 4 * 2 * 4


def test_large_pool_becomes_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = set(pool_of(Quantize(), Batch(), Compile()).recipes)
    monkeypatch.setattr(space, "POOL_LIMIT", 12)
    pool = pool_of(Quantize(), Batch(), Compile(), seed=1)
    assert pool.combinations == 32
    assert pool.recipes[0].is_baseline
    assert len(pool.recipes) == len(set(pool.recipes)) <= 12
    assert set(pool.recipes) <= everything
    assert pool_of(Quantize(), Batch(), Compile(), seed=1).recipes == pool.recipes
    assert pool_of(Quantize(), Batch(), Compile(), seed=2).recipes != pool.recipes


@pytest.mark.parametrize("limit", [8, 12, 31])
def test_sample_holds_what_each_plugin_does_by_itself(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    every = pool_of(Quantize(), Batch(), Compile()).recipes
    alone = {r for r in every if len(r.choices) < 2}
    assert len(alone) == 1 + 3 + 3 + 1
    monkeypatch.setattr(space, "POOL_LIMIT", limit)
    for seed in range(5):
        pool = pool_of(Quantize(), Batch(), Compile(), seed=seed)
        assert alone <= set(pool.recipes)
        assert len(pool.recipes) <= limit


class Recover(Plugin):
    """Has many values."""

    name = "recover"
    params: ClassVar = {"steps": Int(0, 99, default=0, stage=Stage.MODEL)}
    phase = Phase.RECOVER


def test_recovery_is_only_in_recipes_that_change_the_structure() -> None:
    pool = pool_of(FakePruning(), Recover(), Batch())
    assert len(pool.recipes) == len(set(pool.recipes)) == pool.combinations == (1 + 100) * 4
    for recipe in pool.recipes:
        assert "recover" not in recipe.to_dict() or "fake_pruning" in recipe.to_dict()


def test_recovery_without_anything_that_changes_the_structure_is_refused() -> None:
    pool = pool_of(Recover(), Batch())
    assert len(pool.recipes) == pool.combinations == 4
    assert [(r.plugin, r.params) for r in pool.refusals] == [("recover", {})]
    assert "nothing to recover" in pool.refusals[0].reason


def test_pool_of_a_sample_counts_only_what_is_not_needless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = set(pool_of(FakePruning(), Recover(), Batch()).recipes)
    monkeypatch.setattr(space, "POOL_LIMIT", 100)
    pool = pool_of(FakePruning(), Recover(), Batch())
    assert pool.combinations == len(everything)
    assert set(pool.recipes) < everything


def test_sample_has_every_plugin_off_in_half_of_the_draws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wide(Plugin):
        """Has many values."""

        name = "wide"
        params: ClassVar = {"x": Int(0, 999, default=0, stage=Stage.RUN)}

    monkeypatch.setattr(space, "POOL_LIMIT", 4000)
    options = {
        "wide": [{}, *({"x": x} for x in range(1, 1000))],
        "batch": [{}, {"size": 2}, {"size": 4}],
        "fixed": [{}],
    }
    drawn = list(space._combine(options, 10**6, seed=3))[-4000:]
    for name in ("wide", "batch"):
        on = [r.to_dict()[name] for r in drawn if name in r.to_dict()]
        assert 0.45 < len(on) / len(drawn) < 0.55
    sizes = [r.to_dict()["batch"]["size"] for r in drawn if "batch" in r.to_dict()]
    assert 0.45 < sizes.count(2) / len(sizes) < 0.55
    assert all("fixed" not in r.to_dict() for r in drawn)
    # A plugin with many values leaves room for what does not have it.
    pool = pool_of(Wide(), Quantize(), Batch())
    assert sum("wide" not in r.to_dict() for r in pool.recipes) == 16


def test_pool_at_the_limit_is_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "POOL_LIMIT", 32)
    assert len(pool_of(Quantize(), Batch(), Compile()).recipes) == 32


def test_hundred_thousand_recipes_take_seconds() -> None:
    class Wide(Plugin):
        """Has many values."""

        name = "wide"
        params: ClassVar = {"x": Float(0.0, 1.0, default=0.0, step=0.001, stage=Stage.RUN)}

    pool = pool_of(Wide(), Batch(), Quantize())
    assert len(pool.recipes) == 1001 * 4 * 4


def merged(recipe: dict[str, dict[str, Scalar]]) -> dict[str, Any]:
    plugins: dict[str, Plugin] = {"quantize": Quantize(), "batch": Batch()}
    return merge(recipe, plugins, lambda plugin, params: plugin.load_args(params), "load argument")


def test_merge_joins_and_lets_equal_values_be() -> None:
    assert merged({}) == {}
    assert merged({"batch": {"size": 1}, "quantize": {"scheme": "int8"}}) == {
        "size": 1,
        "scheme": "int8",
        "shared": 1,
    }


def test_merge_conflict_names_both_plugins_and_both_values() -> None:
    with pytest.raises(
        Unsupported,
        match="'batch' and 'quantize' both set load argument 'shared': 4 and 1",
    ):
        merged({"batch": {"size": 4}, "quantize": {"scheme": "int8"}})

from __future__ import annotations

import pytest

from autotune.errors import InputError
from autotune.plugin import Trait
from autotune.recipe import Recipe
from autotune.registry import installed
from autotune.space import build_pool, missing
from autotune.testing.fakes import LLAMA, fake_device
from autotune_plugins.batch import Batch
from autotune_plugins.batching import Batching


def test_the_engine_is_told_policy_size_and_window() -> None:
    plugin = Batching()
    assert plugin.run_args({"policy": "continuous", "size": 4}) == {
        "batching": "continuous",
        "batch_size": 4,
    }
    given = plugin.run_args({"policy": "sorted", "size": 2, "window": 8})
    assert given == {"batching": "sorted", "batch_size": 2, "batching_window": 8}


def test_it_is_no_batch_in_the_order_of_arrival() -> None:
    plugins = {"batch": Batch(), "batching": Batching()}
    both = {"batch": {"size": 4}, "batching": {"policy": "continuous"}}
    with pytest.raises(InputError, match="batching"):
        Recipe.of(both, plugins)


def test_there_is_nothing_to_sort_where_requests_are_alike() -> None:
    uniform, mixed = frozenset({Trait.UNIFORM}), frozenset({Trait.MIXED_LENGTHS})
    words = missing(Batching(), "causal-lm", fake_device(), uniform)
    assert words == ("needs a workload with requests of different lengths: see workload.traffic")
    assert missing(Batching(), "causal-lm", fake_device(), mixed) == ""


def test_the_pool_follows_the_workload() -> None:
    registry = installed().select(["batching", "cache", "speculative"])

    def plugins(*traits: Trait) -> set[str]:
        pool = build_pool(
            registry,
            {},
            task="causal-lm",
            model_config=LLAMA,
            device=fake_device(),
            traits=frozenset(traits),
            seed=0,
        )
        return {name for recipe in pool.recipes for name in recipe.to_dict()}

    assert plugins(Trait.UNIFORM) == {"cache", "speculative"}
    assert plugins(Trait.MIXED_LENGTHS) == {"batching"}
    assert plugins() == set()

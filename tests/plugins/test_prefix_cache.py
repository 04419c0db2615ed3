from __future__ import annotations

from autotune.plugin import Trait
from autotune.space import missing
from autotune.testing.fakes import fake_device
from autotune_plugins.prefix_cache import PrefixCache


def why_not(*traits: Trait) -> str:
    return missing(PrefixCache(), "causal-lm", fake_device(), frozenset(traits))


def test_only_where_the_workload_states_what_may_be_found() -> None:
    assert why_not(Trait.SHARED_PREFIX) == why_not(Trait.REPEATS) == ""
    words = "needs a workload with prompts that begin alike or requests that repeat"
    assert why_not(Trait.UNIFORM).startswith(words)
    assert why_not(Trait.MIXED_LENGTHS).startswith(words)


def test_the_engine_is_told_how_many_prompts_are_kept() -> None:
    assert PrefixCache().run_args({"entries": 4}) == {"prefix_entries": 4}

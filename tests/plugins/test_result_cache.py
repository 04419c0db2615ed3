from __future__ import annotations

from autotune.plugin import Trait
from autotune.space import missing
from autotune.testing.fakes import fake_device
from autotune_plugins.result_cache import ResultCache


def why_not(*traits: Trait) -> str:
    return missing(ResultCache(), "causal-lm", fake_device(), frozenset(traits))


def test_only_where_the_workload_states_how_much_repeats() -> None:
    assert why_not(Trait.REPEATS) == ""
    words = "needs a workload with requests that repeat: see workload.traffic"
    for traits in ((Trait.UNIFORM,), (Trait.MIXED_LENGTHS, Trait.SHARED_PREFIX), ()):
        assert why_not(*traits) == words


def test_the_engine_is_told_how_many_answers_are_kept() -> None:
    assert ResultCache().run_args({"entries": 256}) == {"result_entries": 256}

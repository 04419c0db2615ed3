from __future__ import annotations

from autotune.plugin import Trait
from autotune.space import missing
from autotune.testing.fakes import fake_device
from autotune_plugins.adapters import Adapters


def test_only_where_requests_are_for_several_adapters() -> None:
    def why_not(*traits: Trait) -> str:
        return missing(Adapters(), "causal-lm", fake_device(), frozenset(traits))

    assert why_not(Trait.ADAPTERS, Trait.TEXT) == ""
    words = "needs a workload with requests for several LoRA adapters: see workload.traffic"
    assert why_not(Trait.TEXT) == words


def test_the_engine_is_told_who_may_share_a_batch() -> None:
    assert Adapters().run_args({"batching": "mixed"}) == {"adapters": "mixed"}

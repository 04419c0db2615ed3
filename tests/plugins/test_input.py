from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.plugin import Trait, Unsupported
from autotune.space import missing
from autotune.testing.fakes import LLAMA, fake_device
from autotune_plugins.input import Input


def test_only_where_requests_come_as_text() -> None:
    def why_not(task: str, *traits: Trait) -> str:
        return missing(Input(), task, fake_device(), frozenset(traits))

    assert why_not("causal-lm", Trait.TEXT, Trait.REPEATS) == ""
    words = "needs a workload with requests that come as text: see workload.traffic"
    assert why_not("causal-lm", Trait.REPEATS) == words
    assert "not feature-extraction" in why_not("feature-extraction", Trait.TEXT)


def test_the_engine_is_told_who_tokenizes_and_how_far_ahead() -> None:
    plugin = Input()
    given = plugin.run_args({"tokenize": "process", "depth": 16, "transfer": "direct"})
    assert given == {"tokenize": "process", "tokenize_ahead": 16, "transfer": "direct"}
    given = plugin.run_args({"tokenize": "inline", "transfer": "pinned"})
    assert given == {"tokenize": "inline", "transfer": "pinned"}


def test_pinned_memory_is_for_gpus(cpu: Device, new_gpu: Device) -> None:
    params = {"tokenize": "inline", "transfer": "pinned"}
    with pytest.raises(Unsupported, match="this study runs on cpu"):
        Input().check(params, LLAMA, cpu)
    Input().check(params, LLAMA, new_gpu)
    Input().check({**params, "transfer": "direct"}, LLAMA, cpu)

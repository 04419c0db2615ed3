from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune.recipe import Recipe, keys
from autotune_plugins.cache import Cache


def test_only_what_loses_something_is_scored_again() -> None:
    plugins = {"cache": Cache()}

    def output_key(**params: str | int) -> str:
        return keys(Recipe.of({"cache": params}, plugins), plugins, {}).output_key

    assert output_key(kind="static") == output_key()
    assert len({output_key(), output_key(kind="quantized"), output_key(kind="sliding")}) == 3
    assert output_key(kind="quantized") != output_key(kind="quantized", bits=4)


def test_the_engine_is_told_what_belongs_to_the_kind() -> None:
    assert Cache().run_args({"kind": "static"}) == {"cache": "static"}
    quantized = Cache().run_args({"kind": "quantized", "bits": 4})
    assert quantized == {"cache": "quantized", "cache_bits": 4}
    sliding = Cache().run_args({"kind": "sliding", "window": 64})
    assert sliding == {"cache": "sliding", "cache_window": 64}


def test_an_offloaded_cache_needs_a_gpu(cpu: Device, old_gpu: Device) -> None:
    Cache().check({"kind": "offloaded"}, {}, old_gpu)
    with pytest.raises(Unsupported, match="it needs CUDA"):
        Cache().check({"kind": "offloaded"}, {}, cpu)


def test_layers_that_see_only_a_part_are_refused(cpu: Device) -> None:
    mixed = {"layer_types": ["full_attention", "sliding_attention"]}
    Cache().check({"kind": "static"}, mixed, cpu)
    Cache().check({"kind": "quantized", "bits": 8}, {"layer_types": ["full_attention"]}, cpu)
    with pytest.raises(Unsupported, match="this model also has sliding_attention layers"):
        Cache().check({"kind": "sliding", "window": 64}, mixed, cpu)

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins.precision import Precision


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_loaded_weights_have_the_chosen_dtype(dtype: str, llama: Any, tmp_path: Path) -> None:
    llama.save_pretrained(tmp_path)
    loaded = type(llama).from_pretrained(tmp_path, **Precision().load_args({"dtype": dtype}))
    assert {weight.dtype for weight in loaded.parameters()} == {getattr(torch, dtype)}


@pytest.mark.parametrize(
    "config", [{"dtype": "bfloat16"}, {"torch_dtype": "bfloat16"}, {"dtype": "torch.bfloat16"}]
)
def test_the_dtype_of_the_checkpoint_is_the_baseline(config: dict[str, str], cpu: Device) -> None:
    with pytest.raises(Unsupported, match="already bfloat16"):
        Precision().check({"dtype": "bfloat16"}, config, cpu)


def test_a_checkpoint_that_does_not_say_is_float32(cpu: Device) -> None:
    Precision().check({"dtype": "bfloat16"}, {}, cpu)
    with pytest.raises(Unsupported, match="already float32"):
        Precision().check({"dtype": "float32"}, {}, cpu)


def test_bfloat16_is_refused_on_old_gpus(old_gpu: Device, new_gpu: Device) -> None:
    Precision().check({"dtype": "bfloat16"}, {}, new_gpu)
    with pytest.raises(Unsupported, match=r"capability 8\.0; a GPU has 7\.5"):
        Precision().check({"dtype": "bfloat16"}, {}, old_gpu)


def test_half_the_bits_are_half_the_bytes_and_traffic() -> None:
    estimate = Precision().estimate({"dtype": "float16"}, {"dtype": "float32"})
    assert (estimate.weights_bytes, estimate.memory_traffic, estimate.flops) == (0.5, 0.5, 1.0)

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins.attention import Attention


def test_the_model_loads_with_the_kernel_and_says_the_same(
    llama: Any, tokens: torch.Tensor, output_of: Callable[..., torch.Tensor], tmp_path: Path
) -> None:
    llama.save_pretrained(tmp_path)
    arguments = Attention().load_args({"kernel": "eager"})
    loaded = type(llama).from_pretrained(tmp_path, **arguments).eval()
    assert loaded.config._attn_implementation == "eager"
    torch.testing.assert_close(output_of(loaded, tokens), output_of(llama, tokens))


def test_flash_is_refused_without_a_new_enough_gpu(cpu: Device, old_gpu: Device) -> None:
    for device in (cpu, old_gpu):
        with pytest.raises(Unsupported, match=r"capability 8\.0 or higher; this is a"):
            Attention().check({"kernel": "flash_attention_2"}, {}, device)


def test_flash_is_refused_without_its_package(
    new_gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="pip install flash-attn"):
        Attention().check({"kernel": "flash_attention_2"}, {}, new_gpu)


def test_flex_is_refused_on_a_cpu_without_compiler(
    cpu: Device, new_gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    Attention().check({"kernel": "flex_attention"}, {}, new_gpu)
    Attention().check({"kernel": "eager"}, {}, cpu)
    with pytest.raises(Unsupported, match=r"needs the C\+\+ compiler"):
        Attention().check({"kernel": "flex_attention"}, {}, cpu)


def test_flex_is_refused_on_a_cpu_without_avx2(cpu: Device) -> None:
    plain = cpu.model_copy(update={"cpu_flags": frozenset()})
    with pytest.raises(Unsupported, match="AVX2"):
        Attention().check({"kernel": "flex_attention"}, {}, plain)

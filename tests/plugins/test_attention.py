from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.backends import cuda

from autotune.bench.kernels import sdpa_backend
from autotune.device import Device
from autotune.params import Params
from autotune.plugin import Context, Unsupported
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
        for kernel, least in (("flash_attention_2", "8.0"), ("flash_attention_3", "9.0")):
            reason = f"{kernel} needs CUDA compute capability {least} or higher; this is a"
            with pytest.raises(Unsupported, match=re.escape(reason)):
                Attention().check({"kernel": kernel}, {}, device)


def test_flash_is_refused_without_its_package(
    new_gpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for kernel, package in (
        ("flash_attention_2", "flash-attn"),
        ("flash_attention_3", "flash-attn-3"),
    ):
        with pytest.raises(Unsupported, match=f"pip install {package}$"):
            Attention().check({"kernel": kernel}, {}, new_gpu)


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


@pytest.fixture
def switches() -> Iterator[None]:
    """Those of torch for the backends, put back afterwards."""
    yield
    for backend in ("math", "flash", "mem_efficient", "cudnn"):
        getattr(cuda, f"enable_{backend}_sdp")(True)


@pytest.mark.parametrize("backend", ["math", "flash"])
def test_the_backend_computes_and_says_the_same(
    backend: str,
    make_llama: Callable[..., Any],
    tokens: torch.Tensor,
    output_of: Callable[..., torch.Tensor],
    context_of: Callable[..., Context],
    switches: None,
) -> None:
    llama = make_llama(attn_implementation="sdpa")
    expected = output_of(llama, tokens)
    params: Params = {"kernel": "sdpa", "backend": backend}
    changed = Attention().transform(llama, params, context_of(llama))
    assert sdpa_backend(torch.zeros(1, 2, 8, 16)) == backend
    torch.testing.assert_close(output_of(changed, tokens), expected, atol=1e-5, rtol=1e-4)
    assert Attention().expects(params) == {"attention": "sdpa", "sdpa": backend}


def test_backends_of_gpus_are_refused_on_a_cpu(cpu: Device, new_gpu: Device) -> None:
    for backend in ("efficient", "cudnn"):
        params: Params = {"kernel": "sdpa", "backend": backend}
        Attention().check(params, {}, new_gpu)
        with pytest.raises(Unsupported, match=f"the {backend} backend .* a CPU has math and fl"):
            Attention().check(params, {}, cpu)


def test_backend_that_cannot_compute_is_refused(
    make_llama: Callable[..., Any], context_of: Callable[..., Context], switches: None
) -> None:
    llama = make_llama(attn_implementation="sdpa")
    with pytest.raises(Unsupported, match=r"the cudnn backend .* cannot compute heads of"):
        Attention().transform(llama, {"kernel": "sdpa", "backend": "cudnn"}, context_of(llama))


def test_other_kernels_have_no_backend() -> None:
    assert Attention().expects({"kernel": "eager"}) == {"attention": "eager"}

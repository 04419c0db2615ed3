"""Fallbacks planted on purpose are found; what runs as asked gives none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.backends import cuda

from autotune.bench import fallbacks, kernels
from autotune.bench.__main__ import failure
from autotune.bench.protocol import Fallback
from autotune.device import Device, detect
from autotune.outcome import Outcome
from autotune.plugin import Context
from autotune.testing import fake_device
from autotune_plugins.attention import Attention
from autotune_plugins.precision import Precision
from autotune_plugins.quantize import Quantize

CPU = fake_device("cpu")
INT4 = {"scheme": "int4_weight_only", "group_size": 64}
CHILD = """
from autotune.bench.fallbacks import find_capability
from autotune.device import detect
print(*(found.words for found in find_capability(detect("cpu").cpu_flags)), sep="\\n")
"""


def found_in(model: Any, asked: dict[str, str], device: Device = CPU) -> list[Fallback]:
    return list(fallbacks.find_in_model(model, asked, device))


def quantize(model: Any, params: dict[str, Any], device: Device = CPU) -> dict[str, str]:
    context = Context(device=device, model_config=model.config.to_dict())
    Quantize().transform(model, params, context)
    return Quantize().expects(params)


def test_words() -> None:
    found = Fallback(what="dtype", asked="bfloat16", ran="float32", reason="all of it")
    assert found.words == "asked for dtype bfloat16, ran float32: all of it"


def test_a_model_that_nothing_was_asked_of_has_none(llama: Any) -> None:
    assert found_in(llama, {}) == []


@pytest.mark.parametrize(("asked", "held"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_weights_in_another_format(llama: Any, asked: str, held: str) -> None:
    expected = Precision().expects({"dtype": asked})
    (found,) = found_in(llama.to(getattr(torch, held)), expected)
    assert (found.what, found.asked, found.ran) == ("dtype", asked, held)
    assert found.reason == f"100% of the floating-point weights are {held}"
    assert found_in(llama.to(getattr(torch, asked)), expected) == []


def test_an_allocator_that_was_not_loaded(llama: Any) -> None:
    """The loader says "cannot be preloaded" on stderr and goes on."""
    (found,) = found_in(llama, {"allocator": "jemalloc"})
    assert (found.what, found.asked, found.ran) == ("allocator", "jemalloc", "the C library's")
    assert found_in(llama, {"allocator": "c."}) == []  # libc.so is always there


def test_huge_pages_that_nobody_got(
    llama: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for kilobytes, expected in ((0, ["none"]), (2048, [])):
        rows = f"5500-7fff ---p 0 00:00 0 [rollup]\nRss: 9 kB\nAnonHugePages: {kilobytes} kB\n"
        (tmp_path / "smaps_rollup").write_text(rows)
        monkeypatch.setattr(fallbacks, "_OWN_SUM", tmp_path / "smaps_rollup")
        assert [f.ran for f in found_in(llama, {"huge_pages": "transparent"})] == expected


def test_a_few_weights_in_another_format_are_none(llama: Any) -> None:
    llama.to(torch.bfloat16).model.norm.float()
    assert found_in(llama, Precision().expects({"dtype": "bfloat16"})) == []


def test_quantized_weights_count_as_the_format_they_stand_for(llama: Any) -> None:
    quantize(llama.to(torch.bfloat16), {"scheme": "int8_weight_only"})
    assert found_in(llama, Precision().expects({"dtype": "bfloat16"})) == []


@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
def test_attention_as_loaded(llama: Any, tmp_path: Path, kernel: str) -> None:
    llama.save_pretrained(tmp_path)
    loaded = type(llama).from_pretrained(tmp_path, **Attention().load_args({"kernel": kernel}))
    expected = Attention().expects({"kernel": kernel})
    assert found_in(loaded, expected) == []

    other = {"eager": "sdpa", "sdpa": "eager"}[kernel]
    loaded.config._attn_implementation = other
    (found,) = found_in(loaded, expected)
    assert (found.what, found.asked, found.ran) == ("attention", kernel, other)
    assert "configuration of the loaded LlamaForCausalLM" in found.reason


def test_one_layer_with_another_attention_is_found(llama: Any) -> None:
    import copy

    layer = llama.model.layers[1].self_attn
    layer.config = copy.deepcopy(layer.config)
    layer.config._attn_implementation = "eager"
    (found,) = found_in(llama, {"attention": "sdpa"})
    assert found.ran == "eager and sdpa"


def test_a_model_that_does_not_tell_its_attention_is_no_proof() -> None:
    (found,) = found_in(torch.nn.Linear(2, 2), {"attention": "eager"})
    assert found.ran == "unknown"


@pytest.mark.parametrize("scheme", ["int8_weight_only", "int8_dynamic"])
def test_quantized_linears(llama: Any, scheme: str) -> None:
    expected = quantize(llama, {"scheme": scheme})
    assert found_in(llama, expected) == []

    plain = torch.nn.Linear(32, 64, bias=False)
    llama.model.layers[0].mlp.up_proj = plain
    (found,) = found_in(llama, expected)
    assert (found.what, found.asked, found.ran) == ("quantized", scheme, "float32")
    assert found.reason == "1 of 14 linears, 11% of their weights, are plain"


def test_linears_that_the_group_does_not_divide_stay_plain(llama: Any) -> None:
    expected = quantize(llama.to(torch.bfloat16), INT4)
    (found,) = found_in(llama, expected)
    assert (found.asked, found.ran) == ("int4_weight_only", "bfloat16")
    assert found.reason.startswith("12 of 14 linears")


def test_a_library_that_quantizes_nothing_is_found(llama: Any) -> None:
    (found,) = found_in(llama, Quantize().expects({"scheme": "int8_weight_only"}))
    assert found.reason.startswith("14 of 14 linears, 100%")


@pytest.mark.parametrize(
    ("params", "dtype", "words"),
    [
        ({"scheme": "int8_weight_only"}, torch.float32, "aten::mm on float32: the weights are"),
        ({"scheme": "int8_weight_only"}, torch.bfloat16, "aten::mm on bfloat16: the weights are"),
        ({"scheme": "int8_dynamic"}, torch.float32, "aten::_int_mm on"),
        (
            {"scheme": "int4_weight_only", "group_size": 32},
            torch.bfloat16,
            "aten::_weight_int4pack_mm_for_cpu on bfloat16",
        ),
    ],
)
def test_kernels_of_each_scheme_on_a_cpu(
    llama: Any, params: dict[str, Any], dtype: torch.dtype, words: str
) -> None:
    expected = quantize(llama.to(dtype), params)
    (note,), found = kernels.look_at_linears(llama, expected, CPU, rows=16)
    assert words in note
    assert found == []


def test_a_cpu_without_int8_instructions_is_noted(llama: Any) -> None:
    expected = quantize(llama, {"scheme": "int8_dynamic"})
    plain = CPU.model_copy(update={"cpu_flags": frozenset({"avx2"})})
    (note,), _ = kernels.look_at_linears(llama, expected, plain, rows=16)
    assert note.endswith("this CPU has no int8 dot products (VNNI, AMX)")


def test_products_in_another_format_than_asked_for(llama: Any) -> None:
    quantize(llama, {"scheme": "int8_weight_only"})
    expected = Quantize().expects({"scheme": "int8_dynamic"})
    _, (found,) = kernels.look_at_linears(llama, expected, CPU, rows=16)
    assert (found.what, found.asked, found.ran) == ("matmul", "int8", "float32")


def test_a_model_that_is_not_quantized_has_no_kernel_notes(llama: Any) -> None:
    assert kernels.look_at_linears(llama, {}, CPU, rows=16) == ([], [])
    assert kernels.look_at_attention(llama, {}, CPU, tokens=16) == ([], [])


@pytest.fixture
def switches() -> Iterator[None]:
    """Those of torch for the backends of sdpa, put back afterwards."""
    yield
    for switch in (cuda.enable_math_sdp, cuda.enable_flash_sdp):
        switch(True)


def test_backend_of_attention_is_seen(llama: Any, switches: None) -> None:
    cuda.enable_flash_sdp(False)
    assert kernels.look_at_attention(llama, {"sdpa": "math"}, CPU, tokens=16) == ([], [])
    _, (found,) = kernels.look_at_attention(llama, {"sdpa": "flash"}, CPU, tokens=16)
    assert (found.what, found.asked, found.ran) == ("sdpa", "flash", "math")
    cuda.enable_flash_sdp(True)
    _, (found,) = kernels.look_at_attention(llama, {"sdpa": "math"}, CPU, tokens=16)
    assert (found.asked, found.ran) == ("math", "flash")
    eager = {"attention": "eager", "sdpa": "math"}
    assert kernels.look_at_attention(llama, eager, CPU, tokens=16) == ([], [])


def test_no_fused_cuda_kernel_is_usable_on_a_cpu() -> None:
    assert kernels.sdpa_backends(torch.zeros(1, 2, 8, 16)) == ()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_attention_on_a_gpu_has_fused_kernels(llama: Any) -> None:
    model = llama.to("cuda", torch.bfloat16)
    (note,), _ = kernels.look_at_attention(model, {}, detect("cuda"), tokens=16)
    assert "flash" in note


@pytest.mark.parametrize("setting", ["default", "avx2", None])
def test_cpu_capability_in_a_child(setting: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "ATEN_CPU_CAPABILITY"}
    environment |= {"ATEN_CPU_CAPABILITY": setting} if setting else {}
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True
    )
    flags = detect("cpu").cpu_flags
    best = "AVX512" if "avx512vl" in flags else "AVX2" if "avx2" in flags else "DEFAULT"
    lower = setting is not None and best != setting.upper()
    expected = f"asked for cpu_capability {best}, ran {str(setting).upper()}: "
    expected += f"ATEN_CPU_CAPABILITY={setting}"
    assert done.stdout.strip() == (expected if lower else "")


def test_a_plugin_may_ask_for_a_capability_and_an_unknown_one_is_not_judged() -> None:
    assert list(fallbacks.find_capability(frozenset(), "DEFAULT")) == []
    assert list(fallbacks.find_capability(frozenset({"neon"}))) == []
    assert list(fallbacks.find_capability(frozenset({"avx2", "fma"}), "SVE256")) == []


def test_attention_that_no_kernel_is_left_for_is_unsupported() -> None:
    reply = failure(RuntimeError("No available kernel. Aborting execution."))
    assert reply.outcome is Outcome.UNSUPPORTED
    assert "no kernel of scaled_dot_product_attention that is left" in reply.explanation
    assert failure(RuntimeError("odd")).outcome is Outcome.CRASHED


def test_compilers_words_are_shortened() -> None:
    told = failure(RuntimeError("begin " + 100_000 * "x" + " end")).explanation
    assert len(told) < 5000
    assert told.startswith("RuntimeError: begin")
    assert told.endswith("x end")

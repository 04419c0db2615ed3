from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Context, Unsupported
from autotune_plugins.compile import Compile

STATIC = {"mode": "default", "shapes": "static"}
DYNAMIC = {"mode": "default", "shapes": "dynamic"}


@pytest.fixture
def graphs() -> Iterator[list[Any]]:
    """The graphs that torch.compile hands to a backend that compiles nothing."""
    seen: list[Any] = []
    real = torch.compile

    def record(graph: Any, inputs: Any) -> Any:
        seen.append(graph)
        return graph.forward

    def compile_with_record(function: Any, mode: str, dynamic: bool) -> Any:
        return real(function, backend=record, dynamic=dynamic)

    # The plugin sets these for good, in a process that compiles nothing else.
    limits = torch._dynamo.config.patch(
        recompile_limit=8, accumulated_recompile_limit=256, fail_on_recompile_limit_hit=False
    )
    with pytest.MonkeyPatch.context() as patch, limits:
        patch.setattr(torch, "compile", compile_with_record)
        yield seen
    torch._dynamo.reset()


def decode(model: Any, cache: Any, ids: torch.Tensor, steps: int) -> torch.Tensor:
    """Greedy decoding as the engine does it: one prefill, then one token at a time."""
    new = []
    with torch.inference_mode():
        for _ in range(steps):
            logits = model(input_ids=ids, past_key_values=cache, use_cache=True).logits
            ids = logits[:, -1:].argmax(-1)
            new.append(ids)
    return torch.cat(new, dim=1)


def caches(model: Any, shapes: str) -> Any:
    from transformers import DynamicCache, StaticCache

    if shapes == "dynamic":
        return DynamicCache(config=model.config)
    return StaticCache(config=model.config, max_cache_len=64)


@pytest.mark.parametrize(("params", "most"), [(DYNAMIC, 3), (STATIC, 2)])
def test_decoding_needs_few_graphs_and_says_the_same(
    params: dict[str, str],
    most: int,
    make_llama: Callable[..., Any],
    tokens: torch.Tensor,
    context_of: Callable[..., Context],
    graphs: list[Any],
) -> None:
    llama = make_llama(num_hidden_layers=1)
    expected = decode(llama, caches(llama, params["shapes"]), tokens, steps=12)
    compiled = Compile().transform(llama, params, context_of(llama))
    for _ in range(2):
        words = decode(compiled, caches(llama, params["shapes"]), tokens, steps=12)
        assert torch.equal(words, expected)
    assert 0 < len(graphs) <= most


def test_layers_are_compiled_each_by_itself(
    llama: Any,
    tokens: torch.Tensor,
    context_of: Callable[..., Context],
    graphs: list[Any],
) -> None:
    expected = decode(llama, caches(llama, "dynamic"), tokens, steps=6)
    whole = llama.forward
    compiled = Compile().transform(llama, DYNAMIC | {"region": "layers"}, context_of(llama))
    assert compiled.forward == whole
    assert torch.equal(decode(compiled, caches(llama, "dynamic"), tokens, steps=6), expected)
    heads = [g for g in graphs if any("lm_head" in str(node.target) for node in g.graph.nodes)]
    assert len(graphs) >= llama.config.num_hidden_layers
    assert heads == []


def test_tensorrt_is_another_backend(
    llama: Any,
    cpu: Device,
    new_gpu: Device,
    context_of: Callable[..., Context],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    params = STATIC | {"backend": "tensorrt"}
    with pytest.raises(Unsupported, match="it needs one"):
        Compile().check(params, {}, cpu)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="pip install torch-tensorrt"):
        Compile().check(params, {}, new_gpu)
    monkeypatch.setitem(sys.modules, "torch_tensorrt", ModuleType("torch_tensorrt"))
    asked: dict[str, Any] = {}
    monkeypatch.setattr(torch, "compile", lambda forward, **how: asked.update(how) or forward)
    with torch._dynamo.config.patch(
        recompile_limit=8, accumulated_recompile_limit=256, fail_on_recompile_limit_hit=False
    ):
        Compile().transform(llama, params, context_of(llama))
    assert asked.pop("options") == {"pass_through_build_failures": True}
    assert asked == {"backend": "torch_tensorrt", "dynamic": False}


def test_too_many_shapes_fail_instead_of_silently_running_uncompiled(
    make_llama: Callable[..., Any], context_of: Callable[..., Context], graphs: list[Any]
) -> None:
    llama = make_llama(num_hidden_layers=1)
    compiled = Compile().transform(llama, STATIC, context_of(llama))
    torch._dynamo.config.recompile_limit = 2

    def run() -> None:
        for length in range(2, 6):
            compiled(input_ids=torch.ones(1, length, dtype=torch.long))

    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        run()


def test_static_shapes_ask_for_a_static_cache() -> None:
    assert Compile().run_args(STATIC) == {"cache": "static"}
    assert Compile().run_args(DYNAMIC) == {}


def test_cuda_graphs_are_refused_on_a_cpu(cpu: Device, new_gpu: Device) -> None:
    params = {"mode": "reduce-overhead", "shapes": "static"}
    Compile().check(params, {}, new_gpu)
    with pytest.raises(Unsupported, match="need a GPU"):
        Compile().check(params, {}, cpu)


def test_a_cpu_without_compiler_is_refused(cpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(Unsupported, match="'no-such-compiler', which is not installed"):
        Compile().check(DYNAMIC, {}, cpu)


def test_shapes_matter_only_when_compiling() -> None:
    assert not Compile.params["shapes"].active({"mode": "off"})
    assert Compile.params["shapes"].active({"mode": "max-autotune"})

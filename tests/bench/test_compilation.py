"""What torch.compile did is seen: breaks, eager code, recompiles, CUDA graphs left out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers.modeling_outputs import CausalLMOutput

from autotune.bench.compilation import CompileWatch
from autotune.bench.engines.torch_engine import TorchGenerator
from autotune.device import Device
from autotune.testing import fake_device
from autotune_plugins.compile import Compile

PARAMS = {"mode": "max-autotune", "shapes": "static"}
CPU = fake_device("cpu")
Batch = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):
        yield
    torch._dynamo.reset()


class Toy(torch.nn.Module):
    """As much of a language model as the engine needs: tracing a real one takes seconds."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config, self.dtype, self.device = config, torch.float32, torch.device("cpu")
        self.embedding = torch.nn.Embedding(config.vocab_size, 8)
        self.inner = torch.nn.Linear(8, 8)
        self.head = torch.nn.Linear(8, config.vocab_size)

    def forward(self, input_ids: torch.Tensor, past_key_values: Any, use_cache: bool) -> Any:
        return CausalLMOutput(logits=self.head(self.inner(self.embedding(input_ids))))


@pytest.fixture
def toy(llama: Any) -> Toy:
    return Toy(llama.config)


@pytest.fixture
def one_layer(llama: Any) -> Any:
    """One layer: tracing takes seconds for each."""
    llama.model.layers = llama.model.layers[:1]
    llama.config.num_hidden_layers = 1
    return llama


def watch(device: Device = CPU) -> CompileWatch:
    return CompileWatch(Compile().expects(PARAMS), device)


def compiled(model: Any, backend: Any = "eager", dynamic: bool = False) -> TorchGenerator:
    """As the plugin does it, with a backend that builds no code."""
    model.forward = torch.compile(model.forward, backend=backend, dynamic=dynamic)
    return TorchGenerator(model, new_tokens=4)


def drive(engine: TorchGenerator, windows: Batch, batch: int, cache: str = "static") -> None:
    prompts = {name: tensor[:batch] for name, tensor in windows.items()}
    engine.request(prompts, engine.resolve({"cache": cache}))


@pytest.mark.parametrize(("cache", "dynamic"), [("static", False), ("dynamic", True)])
def test_a_whole_graph_has_no_fallbacks(
    one_layer: Any, windows: Batch, cache: str, dynamic: bool
) -> None:
    watched, engine = watch(), compiled(one_layer, dynamic=dynamic)
    assert watched.seconds() == 0.0
    begun = time.perf_counter()
    drive(engine, windows, 2, cache)
    assert 0.0 < watched.seconds() < time.perf_counter() - begun
    assert list(watched.after_warm_up()) == []
    drive(engine, windows, 2, cache)
    assert list(watched.after_blocks()) == []


def break_the_graph(model: Toy) -> None:
    """Puts a break into the only layer."""
    inner = model.inner.forward

    def forward(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return inner(x)

    model.inner.forward = forward  # type: ignore[method-assign]


def test_a_graph_break_is_told_with_its_reason(toy: Toy, windows: Batch) -> None:
    break_the_graph(toy)
    watched, engine = watch(), compiled(toy)
    drive(engine, windows, 2)
    found = list(watched.after_warm_up())
    assert len(found) == 1
    assert (found[0].what, found[0].asked) == ("compiled", "fullgraph")
    assert "graph break" in found[0].ran
    assert "graph_break()" in found[0].reason
    assert list(watched.after_warm_up()) == found, "a warm sibling runs the same code"


def test_what_came_before_the_watch_is_not_counted(toy: Toy, windows: Batch) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        torch._dynamo.graph_break()
        return x + 1

    torch.compile(broken, backend="eager")(torch.ones(2))
    watched, engine = watch(), compiled(toy)
    drive(engine, windows, 2)
    assert list(watched.after_warm_up()) == []


def test_a_recompile_while_measuring_is_told(toy: Toy, windows: Batch) -> None:
    watched, engine = watch(), compiled(toy)
    drive(engine, windows, 2)
    assert list(watched.after_warm_up()) == []
    drive(engine, windows, 3)
    (found,) = watched.after_blocks()
    assert "recompile" in found.ran
    assert "mismatch" in found.reason

    drive(engine, windows, 4)
    assert list(watched.after_warm_up()) == [], "a sibling's warm-up may compile"
    assert list(watched.after_blocks()) == []


def test_a_backend_that_fails_in_silence_is_told(toy: Toy, windows: Batch) -> None:
    def failing(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no such instruction")

    with torch._dynamo.config.patch(suppress_errors=True, fail_on_recompile_limit_hit=False):
        watched, engine = watch(), compiled(toy, failing)
        drive(engine, windows, 2)
        (found,) = watched.after_warm_up()
    assert (found.asked, found.ran) == ("fullgraph", "eager")
    assert "no such instruction" in found.reason
    assert "suppress_errors is on" in found.reason


def test_a_model_that_is_not_compiled_at_all_is_told(toy: Toy, windows: Batch) -> None:
    watched, engine = watch(), TorchGenerator(toy, new_tokens=2)
    drive(engine, windows, 2)
    (found,) = watched.after_warm_up()
    assert (found.ran, found.reason) == ("eager", "torch compiled no graph")


@pytest.mark.parametrize(("kind", "count"), [("cpu", 0), ("cuda", 1)])
def test_cuda_graphs_left_out_are_told_on_a_gpu(
    toy: Toy, windows: Batch, kind: Any, count: int
) -> None:
    from torch._dynamo.utils import counters

    watched, engine = watch(fake_device(kind)), compiled(toy)
    drive(engine, windows, 2)
    counters["inductor"]["cudagraph_skips"] += 2  # what torch does when it leaves them out
    found = [f for f in watched.after_warm_up() if f.what == "cuda_graphs"]
    assert len(found) == count
    assert all("out of 2 graphs" in f.reason for f in found)

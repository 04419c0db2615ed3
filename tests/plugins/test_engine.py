"""Real graphs of small models, made once, against torch."""

from __future__ import annotations

import ctypes.util
import importlib.util
import math
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from autotune.device import Device
from autotune.plugin import Context, Unsupported
from autotune.recipe import complete
from autotune_plugins._exporting import Job, _refuse_quantized, export
from autotune_plugins._gguf_export import write_gguf
from autotune_plugins._graph_engine import GraphEncoder, GraphGenerator
from autotune_plugins._llamacpp_engine import LlamaCppGraph
from autotune_plugins._onnx_engine import OnnxGraph
from autotune_plugins._onnx_export import quantize, save_onnx, write_onnx
from autotune_plugins._openvino_engine import OpenvinoGraph, require_known_malloc
from autotune_plugins._openvino_export import save_openvino, to_openvino, write_openvino
from autotune_plugins.engine import Engine
from autotune_plugins.prune import Prune
from graph_engines import HAS_LLAMACPP, needs_llamacpp, prompts

ContextOf = Callable[..., Context]
NEW_TOKENS = 16
FLOAT = dict.fromkeys(("onnxruntime", "openvino", "llamacpp"), "float32")
INT8 = {"onnxruntime": "int8_dynamic", "openvino": "int8_weight_only", "llamacpp": "q8_0"}
GRAPHS: dict[str, Any] = {
    "onnxruntime": OnnxGraph,
    "openvino": OpenvinoGraph,
    "llamacpp": partial(LlamaCppGraph, new_tokens=NEW_TOKENS),
}
EXPORTED = ("onnxruntime", "openvino")
BACKENDS = pytest.mark.parametrize(
    "backend", [*EXPORTED, pytest.param("llamacpp", marks=needs_llamacpp)]
)
ENCODING_BACKENDS = pytest.mark.parametrize("backend", EXPORTED)


def small_llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    heads = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    torch.manual_seed(0)
    config = LlamaConfig(**sizes, **heads, initializer_range=0.1)
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def small_bert(kind: str) -> Any:
    import transformers

    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_labels": 3}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 4}
    torch.manual_seed(0)
    return getattr(transformers, kind)(transformers.BertConfig(**sizes, **heads)).eval()


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Backend and precision → the folder of a small Llama."""
    folders = {p: tmp_path_factory.mktemp("-".join(p)) for p in [*FLOAT.items(), *INT8.items()]}
    jobs = {pair: Job(*pair, "causal-lm", saturates=True) for pair in folders}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters; plugins run them in a child process
        program, states = export(small_llama(), "causal-lm")
        onnx, small = folders["onnxruntime", "float32"], ("onnxruntime", "int8_dynamic")
        save_onnx(program, states, onnx / "model.onnx")
        quantize(onnx / "model.onnx", folders[small] / "model.onnx", jobs[small])
        model = to_openvino(program, states)
        for pair in (("openvino", "float32"), ("openvino", "int8_weight_only")):
            save_openvino(model, jobs[pair], folders[pair])
    for precision in ("float32", "q8_0") if HAS_LLAMACPP else ():
        pair = ("llamacpp", precision)
        write_gguf(small_llama(), jobs[pair], folders[pair])
    return folders


def generator(
    graphs: dict[tuple[str, str], Path], backend: str, precision: str, threads: int = 1
) -> GraphGenerator:
    graph = GRAPHS[backend](graphs[backend, precision], precision, threads)
    return GraphGenerator(graph, NEW_TOKENS)


@BACKENDS
def test_logits_are_those_of_torch(graphs: Any, backend: str) -> None:
    model, engine = small_llama(), generator(graphs, backend, FLOAT[backend])
    for sequences, length in ((1, 20), (3, 9), (2, 1)):
        given = prompts(sequences, length)
        found = engine.outputs(given, {})
        assert found.dtype is torch.float32
        assert torch.allclose(found, model(**given).logits, atol=1e-4)


@BACKENDS
@pytest.mark.parametrize("sequences", [1, 3])
def test_tokens_are_those_of_greedy_decoding(graphs: Any, backend: str, sequences: int) -> None:
    given, engine = prompts(sequences), generator(graphs, backend, FLOAT[backend])
    engine.request(prompts(2), {})  # what it has kept of another request must not show
    timing = engine.request(given, {})
    told: list[Any] = []
    engine.on_tokens = told.append
    tokens = engine.generate(given, {}, NEW_TOKENS)
    engine.on_tokens = None
    assert list(zip(*told, strict=True)) == [
        tuple([token] for token in row) for row in tokens.tolist()
    ]
    length = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS}
    mask = torch.ones_like(given["input_ids"])
    expected = small_llama().generate(
        **given, attention_mask=mask, **length, do_sample=False, pad_token_id=0
    )
    assert torch.equal(tokens, expected[:, 20:])
    assert timing.start < timing.first < timing.last
    shape = (timing.sequences, timing.prompt_tokens, timing.output_tokens)
    assert shape == (sequences, 20, NEW_TOKENS)
    assert len(timing.gaps) == NEW_TOKENS - 1
    assert 0 < sum(timing.gaps) <= timing.last - timing.first
    assert engine.last_finite


@BACKENDS
def test_first_token_is_told_once_and_before_the_others(graphs: Any, backend: str) -> None:
    engine, calls = generator(graphs, backend, FLOAT[backend]), []
    run, told = engine._graph.run, []
    engine._graph.run = lambda given: (calls.append(1), run(given))[1]  # type: ignore[method-assign]
    engine.on_first_token = lambda: told.append(len(calls))
    engine.request(prompts(1), {})
    assert told == [1]
    assert len(calls) == NEW_TOKENS


@BACKENDS
def test_int8_is_smaller_and_says_almost_the_same(graphs: Any, backend: str) -> None:
    plain = generator(graphs, backend, FLOAT[backend])
    small = generator(graphs, backend, INT8[backend])
    model = small_llama()
    own = sum(p.nbytes for p in model.parameters())
    assert plain.own_weights().held_bytes == pytest.approx(own, rel=0.05)
    assert small.own_weights().held_bytes < 0.35 * own
    assert small.own_weights().stored_bytes < plain.own_weights().stored_bytes
    given = prompts(2)
    found, wanted = small.outputs(given, {}), model(**given).logits
    assert not torch.allclose(found, wanted, atol=1e-4)
    likeness = torch.nn.functional.cosine_similarity(found, wanted, dim=-1)
    assert float(likeness.min()) > 0.98


@BACKENDS
def test_what_runs_is_what_expects_asks_for(graphs: Any, backend: str) -> None:
    for precision in (FLOAT[backend], INT8[backend]):
        params = {"backend": backend, "precision": precision, "threads": 0}
        assert generator(graphs, backend, precision).ran() == Engine().expects(params)


def test_openvino_that_compiles_another_precision_is_noticed(graphs: Any) -> None:
    folder = graphs["openvino", "float32"]
    with pytest.raises(Unsupported, match="asked for int8_weight_only here and compiled openvino"):
        OpenvinoGraph(folder, "int8_weight_only", 1)


@BACKENDS
def test_threads_are_those_asked_for(graphs: Any, backend: str) -> None:
    for threads in (1, 2):
        engine: Any = generator(graphs, backend, FLOAT[backend], threads)
        assert engine._graph.threads == threads


@BACKENDS
def test_run_arguments_of_torch_are_refused(graphs: Any, backend: str) -> None:
    engine = generator(graphs, backend, FLOAT[backend])
    assert engine.resolve({"batch_size": 4}) == {"batch_size": 4}
    with pytest.raises(Unsupported, match="knows no run argument 'cache'"):
        engine.resolve({"cache": "static"})


@BACKENDS
def test_numbers_that_are_not_finite_are_noticed(graphs: Any, backend: str) -> None:
    engine = generator(graphs, backend, FLOAT[backend])
    run = engine._graph.run
    engine._graph.run = lambda given: run(given) * math.nan  # type: ignore[method-assign]
    engine.request(prompts(1), {})
    assert not engine.last_finite


@BACKENDS
def test_what_scoring_needed_is_given_back_before_serving(graphs: Any, backend: str) -> None:
    from autotune.bench.allocator import release_freed
    from autotune.bench.meters.memory import status_bytes

    def resident() -> int:
        release_freed()
        return status_bytes("VmRSS")

    engine, given = generator(graphs, backend, FLOAT[backend]), prompts(1)
    engine.request(given, {})
    before = resident()
    engine.outputs(prompts(16, 256), {})
    grown = resident() - before
    assert grown > 8 << 20
    engine.forget()
    assert resident() - before < 0.6 * grown
    assert torch.allclose(engine.outputs(given, {}), small_llama()(**given).logits, atol=1e-4)


@BACKENDS
def test_padding_is_refused_where_it_would_not_be_seen(graphs: Any, backend: str) -> None:
    given = prompts(2)
    mask = torch.ones_like(given["input_ids"])
    mask[1, :5] = 0
    with pytest.raises(Unsupported, match="no padding"):
        generator(graphs, backend, FLOAT[backend]).outputs(given | {"attention_mask": mask}, {})


@pytest.mark.parametrize("task", ["sequence-classification", "feature-extraction"])
@ENCODING_BACKENDS
def test_encoders_give_the_outputs_of_torch(task: str, backend: str, tmp_path: Path) -> None:
    from autotune.bench.engines.torch_engine import TorchEncoder

    kinds = {
        "sequence-classification": "BertForSequenceClassification",
        "feature-extraction": "BertModel",
    }
    model = small_bert(kinds[task])
    write = write_onnx if backend == "onnxruntime" else write_openvino
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(*export(model, task), Job(backend, "float32", task, False), tmp_path)
    engine = GraphEncoder(GRAPHS[backend](tmp_path, "float32", 1))
    for sequences, length in ((1, 12), (3, 7), (2, 1)):
        given = prompts(sequences, length)
        mask = torch.ones_like(given["input_ids"])
        mask[-1, (length + 1) // 2 :] = 0
        batch = given | {"attention_mask": mask}
        expected = TorchEncoder(model, task).outputs(batch, {})
        assert torch.allclose(engine.outputs(batch, {}), expected, atol=1e-4)
        engine.forget()
        timing = engine.request(batch, {"batch_size": sequences})
        assert timing.first == timing.last > timing.start
        assert engine.last_finite


def test_a_pruned_model_is_converted_and_its_weights_are_freed(
    cpu: Device, calibration: Any, tmp_path: Path
) -> None:
    model = small_llama()
    context = Context(
        device=cpu,
        model_config=model.config.to_dict(),
        calibration=calibration,
        new_tokens=NEW_TOKENS,
    )
    Prune().transform(model, complete(Prune(), {"method": "structured", "ratio": 0.5}), context)
    given = prompts(2)
    expected = model(**given).logits
    own = sum(p.nbytes for p in model.parameters())
    params = {"backend": "onnxruntime", "precision": "float32", "threads": 1}
    engine = Engine().engine(model, params, context)
    assert torch.allclose(engine.outputs(given, {}), expected, atol=1e-4)
    assert engine.own_weights().held_bytes == pytest.approx(own, rel=0.05)
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_quantized_weights_are_refused(llama: Any, context_of: ContextOf) -> None:
    from autotune_plugins.quantize import Quantize

    Quantize().transform(llama, {"scheme": "int8_weight_only"}, context_of(llama))
    with pytest.raises(Unsupported, match="plain weights"):
        _refuse_quantized(llama)
    params = {"backend": "openvino", "precision": "float32", "threads": 1}
    with pytest.raises(Unsupported, match="plain weights"):
        Engine().engine(llama, params, context_of(llama))


def test_a_cache_that_slides_is_refused(make_llama: Callable[..., Any]) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    sizes = {"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128}
    heads = {"num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = MistralConfig(**sizes, **heads, sliding_window=8)
    with pytest.raises(Unsupported, match="made of DynamicSlidingWindowLayer"):
        export(MistralForCausalLM(config).eval(), "causal-lm")


def test_a_conversion_that_fails_says_why(llama: Any, context_of: ContextOf) -> None:
    params = {"backend": "onnxruntime", "precision": "float32", "threads": 1}
    llama.model.embed_tokens = None
    with pytest.raises(RuntimeError, match="converting the model for onnxruntime failed"):
        Engine().engine(llama, params, context_of(llama))


REFUSED = [
    (
        {"backend": "onnxruntime", "precision": "bfloat16"},
        r"\(onnxruntime: float32, int8_dynamic;",
    ),
    ({"backend": "openvino", "precision": "int8_dynamic"}, "must be one of the backend's"),
    ({"backend": "openvino", "precision": "bfloat16"}, "has no bfloat16"),
    ({"backend": "openvino", "precision": "float32", "threads": 4}, "is the default"),
    ({"backend": "openvino", "precision": "float32", "threads": 8}, "more than the 4 cores"),
    ({"backend": "vllm"}, "on cuda devices only"),
]


@pytest.mark.parametrize(("params", "reason"), REFUSED)
def test_what_cannot_work_is_refused_before_any_trial(
    params: dict[str, Any], reason: str, cpu: Device
) -> None:
    with pytest.raises(Unsupported, match=reason):
        Engine().check({"threads": 0} | params, {}, cpu)


def test_bfloat16_is_tried_where_the_cpu_has_it(cpu: Device) -> None:
    able = cpu.model_copy(update={"cpu_flags": frozenset({"avx2", "amx_bf16"})})
    Engine().check({"backend": "openvino", "precision": "bfloat16", "threads": 0}, {}, able)


def test_layers_that_slide_are_refused_by_the_config(cpu: Device) -> None:
    config = {"architectures": ["GemmaForCausalLM"], "layer_types": ["sliding_attention"]}
    params = {"backend": "openvino", "precision": "float32", "threads": 0}
    with pytest.raises(Unsupported, match="sliding_attention"):
        Engine().check(params, config, cpu)


def test_a_missing_package_is_named(new_gpu: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unsupported, match="vllm needs vllm: pip install vllm"):
        Engine().check({"backend": "vllm"}, {}, new_gpu)


@pytest.mark.parametrize("malloc", ["jemalloc", "tcmalloc_minimal", "mimalloc"])
def test_openvino_is_refused_where_it_would_be_aborted(malloc: str) -> None:
    require_known_malloc()
    library = ctypes.util.find_library(malloc)
    if library is None:
        pytest.skip(f"{malloc} is not installed")
    code = "from autotune_plugins._openvino_engine import require_known_malloc as f; f()"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_PRELOAD": library},
        capture_output=True,
        text=True,
        check=False,
    )
    name = malloc.removesuffix("_minimal")
    assert f"Unsupported: OpenVINO's CPU plugin ends the process where {name}" in ended.stderr

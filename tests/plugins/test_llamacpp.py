"""Files of llama.cpp, read back, and its engine against torch where it is installed."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGUFReader

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins._exporting import Job
from autotune_plugins._gguf_export import FILE, refuse_gguf, write_float32, write_gguf
from autotune_plugins._graph_engine import GraphGenerator
from autotune_plugins._llamacpp_engine import LlamaCppGraph, with_fields
from autotune_plugins.engine import Engine
from graph_engines import needs_llamacpp, prompts

NEW_TOKENS = 8
SIZES = {
    **{"vocab_size": 256, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.1},
}
LLAMA3 = {
    **{"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64},
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
WIDE_SIZES = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"head_dim": 16}),
    "llama, tied, biases": ("Llama", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama, wide heads": ("Llama", {"head_dim": 32}),
    "llama, 256": ("Llama", WIDE_SIZES),
    "llama, 256, tied": ("Llama", WIDE_SIZES | {"tie_word_embeddings": True}),
    "llama 3.1 positions": ("Llama", {"rope_parameters": LLAMA3}),
    "linear positions": ("Llama", {"rope_parameters": LINEAR}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 32}),
}
PLAIN, WIDE = ("llama", "llama, tied, biases"), ("llama, 256", "llama, 256, tied")
BY_MODEL = pytest.mark.parametrize("name", list(MODELS))


def small(name: str) -> Any:
    import transformers

    kind, more = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**(SIZES | more))
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval().requires_grad_(False)
    for parameter in model.parameters():  # norms and biases that would not show otherwise
        if parameter.ndim == 1:
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def written(model: Any, folder: Path, precision: str = "float32") -> Path:
    write_gguf(model, Job("llamacpp", precision, "causal-lm", saturates=False), folder)
    return folder


def engine_of(folder: Path, precision: str = "float32") -> GraphGenerator:
    graph = LlamaCppGraph(folder, precision, threads=1, new_tokens=NEW_TOKENS)
    return GraphGenerator(graph, NEW_TOKENS)


@BY_MODEL
def test_the_file_holds_every_weight_once(name: str, tmp_path: Path) -> None:
    model = small(name)
    write_float32(model, tmp_path / FILE)
    file = GGUFReader(tmp_path / FILE)
    factors = sum(int(t.n_elements) for t in file.tensors if t.name == "rope_freqs.weight")
    assert (factors > 0) == ("positions" in name)
    held = sum(int(t.n_elements) for t in file.tensors) - factors
    assert held == sum(p.numel() for p in model.parameters())
    found = {tensor.name: tensor.data for tensor in file.tensors}
    up = model.model.layers[0].mlp.up_proj.weight
    assert np.array_equal(found["blk.0.ffn_up.weight"], up.numpy())


@needs_llamacpp
@BY_MODEL
def test_logits_are_those_of_torch(name: str, tmp_path: Path) -> None:
    model = small(name)
    engine = engine_of(written(model, tmp_path))
    for sequences, length in ((1, 20), (3, 300), (2, 1)):
        given = prompts(sequences, length)
        assert torch.allclose(engine.outputs(given, {}), model(**given).logits, atol=1e-4)


def uneven(name: str) -> Any:
    """As pruning by sensitivity leaves a model."""
    model = small(name)
    mlp, attention = model.model.layers[1].mlp, model.model.layers[1].self_attn
    for linear in (mlp.gate_proj, mlp.up_proj):
        _keep(linear, rows=96)
    _keep(mlp.down_proj, columns=96)
    for linear, rows in ((attention.q_proj, 32), (attention.k_proj, 16), (attention.v_proj, 16)):
        _keep(linear, rows=rows)
    _keep(attention.o_proj, columns=32)
    return model


def _keep(linear: torch.nn.Linear, rows: int | None = None, columns: int | None = None) -> None:
    linear.weight = torch.nn.Parameter(linear.weight[:rows, :columns].clone(), False)
    linear.out_features, linear.in_features = linear.weight.shape


@needs_llamacpp
@pytest.mark.parametrize("name", ["llama", "llama 3.1 positions"])
def test_layers_may_differ_in_size(name: str, tmp_path: Path) -> None:
    model, given = uneven(name), prompts(2)
    found = engine_of(written(model, tmp_path)).outputs(given, {})
    assert torch.allclose(found, model(**given).logits, atol=1e-4)


def test_layers_of_qwen_may_not_differ_in_size(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="qwen2 has layers of one size"):
        write_float32(uneven("qwen2"), tmp_path / FILE)


def test_rows_that_pruning_has_left_odd_are_refused(tmp_path: Path) -> None:
    model = small("llama")
    for layer in model.model.layers:
        for linear in (layer.mlp.gate_proj, layer.mlp.up_proj):
            _keep(linear, rows=90)
        _keep(layer.mlp.down_proj, columns=90)
    with pytest.raises(Unsupported, match=r"q4_0 packs blocks of at least 32 .* has rows of 90"):
        written(model, tmp_path, "q4_0")


BITS = [
    *((name, precision) for name in PLAIN for precision in ("bfloat16", "q8_0", "q4_0")),
    *((name, precision) for name in WIDE for precision in ("q6_k", "q4_k_m", "q4_0")),
]


@needs_llamacpp
@pytest.mark.parametrize(("name", "precision"), BITS)
def test_fewer_bits_are_less_weight(name: str, precision: str, tmp_path: Path) -> None:
    model = small(name)
    own = sum(p.nbytes for p in model.parameters())
    engine = engine_of(written(model, tmp_path, precision), precision)
    params = {"backend": "llamacpp", "precision": precision, "threads": 0}
    assert engine.ran() == Engine().expects(params)
    stated = Engine().estimate(params, model.config.to_dict()).weights_bytes
    assert engine.own_weights().held_bytes / own == pytest.approx(stated, rel=0.1)
    given = prompts(2)
    likeness = torch.nn.functional.cosine_similarity(
        engine.outputs(given, {}), model(**given).logits, dim=-1
    )
    assert float(likeness.mean()) > 0.9


@needs_llamacpp
def test_more_tokens_than_were_planned_for(tmp_path: Path) -> None:
    model, given, many = small("llama"), prompts(2), 300
    model.generation_config.eos_token_id = None
    engine = engine_of(written(model, tmp_path))
    engine.request(given, {})
    tokens = engine.generate(given, {}, many)
    length = {"max_new_tokens": many, "min_new_tokens": many}
    mask = torch.ones_like(given["input_ids"])
    expected = model.generate(
        **given, attention_mask=mask, **length, do_sample=False, pad_token_id=0
    )
    assert torch.equal(tokens, expected[:, 20:])


@needs_llamacpp
def test_a_file_of_another_precision_is_noticed(tmp_path: Path) -> None:
    written(small("llama"), tmp_path)
    with pytest.raises(Unsupported, match="asked for q8_0 here and wrote llamacpp float32"):
        engine_of(tmp_path, "q8_0")


@needs_llamacpp
def test_too_many_sequences_are_refused(tmp_path: Path) -> None:
    engine = engine_of(written(small("llama"), tmp_path))
    with pytest.raises(Unsupported, match="at most 256 sequences"):
        engine.request(prompts(257, 2), {})


@needs_llamacpp
def test_a_broken_file_says_what_the_library_said(tmp_path: Path) -> None:
    path = written(small("llama"), tmp_path) / FILE
    content = path.read_bytes()
    path.write_bytes(content.replace(b"llama.block_count", b"llama.block_cound"))
    with pytest.raises(RuntimeError, match="block_count"):
        engine_of(tmp_path)


def test_fields_that_the_library_does_not_have_are_refused() -> None:
    class Params(ctypes.Structure):
        _fields_ = (("n_ctx", ctypes.c_uint32),)

    assert with_fields(Params(), n_ctx=7).n_ctx == 7
    with pytest.raises(Unsupported, match="has no load_mode: pip install --upgrade"):
        with_fields(Params(), load_mode=0)


def config_of(**more: Any) -> dict[str, Any]:
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **SIZES, **more}


REFUSED = [
    ({"model_type": "gemma", "architectures": ["GemmaForCausalLM"]}, "this is GemmaForCausalLM"),
    ({"model_type": "bert", "architectures": ["BertModel"]}, "tried with llama, mistral"),
    ({"hidden_act": "gelu"}, "computes silu, this model gelu"),
    ({"model_type": "mistral", "sliding_window": 64}, "a window of tokens"),
    ({"model_type": "mistral"}, "a window of tokens"),  # transformers gives it one
    ({"model_type": "qwen2", "use_sliding_window": True}, "a window of tokens"),
    ({"model_type": "qwen3", "layer_types": ["sliding_attention"]}, "a window of tokens"),
    ({"model_type": "qwen3", "attention_bias": True}, "no biases in attention"),
    ({"rope_parameters": {"rope_type": "yarn"}}, "of type yarn"),
    ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "of type dynamic"),
    ({"precision": "q4_k_m"}, "blocks of 256 weights of a row, and hidden_size is 64"),
    ({"precision": "q8_0", "intermediate_size": 100}, "and intermediate_size is 100"),
]


@pytest.mark.parametrize(("more", "reason"), REFUSED)
def test_what_cannot_be_written_is_refused_by_the_config(
    more: dict[str, Any], reason: str
) -> None:
    config = config_of(**more)
    with pytest.raises(Unsupported, match=reason):
        refuse_gguf(config, str(config.get("precision", "float32")))


def test_models_that_can_be_written_are_not_refused() -> None:
    for name in MODELS:
        model = small(name)
        named = {"architectures": [type(model).__name__]}
        refuse_gguf(model.config.to_dict() | named, "q8_0")


def test_a_window_that_only_transformers_knows_of_is_refused(tmp_path: Path) -> None:
    import transformers

    model = transformers.MistralForCausalLM(transformers.MistralConfig(**SIZES))
    with pytest.raises(Unsupported, match="a window of tokens"):
        written(model, tmp_path)


def test_fewer_heads_than_qwen2_wants_are_refused(tmp_path: Path) -> None:
    model = small("qwen2")
    for layer in model.model.layers:
        _keep(layer.self_attn.q_proj, rows=32)
        _keep(layer.self_attn.k_proj, rows=16)
        _keep(layer.self_attn.v_proj, rows=16)
        _keep(layer.self_attn.o_proj, columns=32)
    with pytest.raises(Unsupported, match="wants heads of 64 together"):
        write_float32(model, tmp_path / FILE)


@needs_llamacpp
def test_memory_that_runs_out_is_told_as_that(tmp_path: Path) -> None:
    written(small("llama"), tmp_path)
    code = (
        "import resource, torch\n"
        "from pathlib import Path\n"
        "from autotune_plugins._graph_engine import GraphGenerator\n"
        "from autotune_plugins._llamacpp_engine import LlamaCppGraph\n"
        f"graph = LlamaCppGraph(Path({str(tmp_path)!r}), 'float32', 1, 100_000)\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))\n"
        "ids = torch.zeros(200, 100, dtype=torch.long)\n"
        "GraphGenerator(graph, 8).request({'input_ids': ids}, {})\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert "MemoryError: llama.cpp could not make a context" in ended.stderr


def test_positions_that_qwen_does_not_scale_are_refused(tmp_path: Path) -> None:
    import transformers

    config = transformers.Qwen2Config(**SIZES, rope_parameters=LINEAR)
    with pytest.raises(Unsupported, match="qwen2 has no scaled rotary positions"):
        write_float32(transformers.Qwen2ForCausalLM(config), tmp_path / FILE)


def test_missing_packages_are_named_with_what_installs_them(
    cpu: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    params = {"backend": "llamacpp", "precision": "float32", "threads": 0}
    with pytest.raises(
        Unsupported, match=r"needs llama_cpp, gguf: pip install 'autotune\[llamacpp\]'"
    ):
        Engine().check(params, config_of(), cpu)

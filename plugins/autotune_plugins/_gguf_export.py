"""A torch model → the file of llama.cpp; no plugin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    import gguf
    import torch

    from autotune_plugins._exporting import Job

FILE = "model.gguf"

_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""transformers' ``model_type`` → llama.cpp's architecture."""
_TURNED = ("llama", "deci")
"""Those that rotate neighbours of a head; deci is llama with layers of different sizes."""
_ROPES = ("default", "linear", "llama3")
"""Kinds of rotary positions whose frequencies are the same for prompts of all lengths."""
_FILE_TYPES = {"bfloat16": 32, "q8_0": 7, "q6_k": 18, "q4_k_m": 15, "q4_0": 2}
"""``llama_ftype`` of llama.h; float32 is what is written first."""
_BLOCKS = {"q8_0": 32, "q6_k": 256, "q4_k_m": 256, "q4_0": 32}
"""So many weights of a row share a scale (ggml-common.h)."""
_LEAST_BLOCK = 32
"""Rows of other multiples llama.cpp packs in another format of about as many bits."""


def refuse_gguf(config: Mapping[str, Any], precision: str) -> None:
    """Refuses by its config what the file could not hold, or llama.cpp would compute otherwise.

    Raises:
        Unsupported: And why.
    """
    kind = str(config.get("model_type"))
    if kind not in _ARCHITECTURES or not str(_class_name(config)).endswith("ForCausalLM"):
        raise Unsupported(
            f"llama.cpp is tried with {', '.join(_ARCHITECTURES)}; this is {_class_name(config)}"
        )
    if (act := config.get("hidden_act", "silu")) != "silu":
        raise Unsupported(f"llama.cpp's {kind} computes silu, this model {act}")
    if kind == "qwen3" and config.get("attention_bias"):
        raise Unsupported("llama.cpp's qwen3 has no biases in attention, and this model has")
    if _slides(kind, config):
        raise Unsupported("layers that attend to a window of tokens are not written for llama.cpp")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    form = rope.get("rope_type") or rope.get("type")
    if form not in (None, *_ROPES):
        raise Unsupported(f"rotary positions of type {form} are not written for llama.cpp")
    _refuse_rows(config, precision)


def _slides(kind: str, config: Mapping[str, Any]) -> bool:
    """Whether a layer attends to fewer tokens than all; transformers gives a Mistral that does not
    say so a window of 4096."""
    if kind == "mistral":
        return bool(config.get("sliding_window", 4096))
    kinds = set(config.get("layer_types") or ())
    return bool(kinds - {"full_attention"} or config.get("use_sliding_window"))


def _refuse_rows(config: Mapping[str, Any], precision: str) -> None:
    block = _BLOCKS.get(precision, 1)
    for name in ("hidden_size", "intermediate_size"):
        if (size := int(config.get(name) or 0)) % block:
            raise Unsupported(
                f"{precision} packs blocks of {block} weights of a row, and {name} is {size}"
            )


def _class_name(config: Mapping[str, Any]) -> str:
    return next(iter(config.get("architectures") or ()), str(config.get("model_type")))


def write_gguf(model: Any, job: Job, folder: Path) -> None:
    """Writes ``model.gguf``, without a tokenizer: the engine is given token ids.

    Args:
        model: In float32 on the CPU.
        job: What is to be made.
        folder: Where to.

    Raises:
        Unsupported: The architecture cannot hold the model, or the precision a row of its weights.
    """
    # With what transformers adds to the file that was judged before the trial.
    named = {"architectures": [type(model).__name__]}
    refuse_gguf(model.config.to_dict() | named, job.precision)
    if job.precision == "float32":
        write_float32(model, folder / FILE)
        return
    if job.precision in _BLOCKS:
        _refuse_odd_rows(model, job.precision)
    plain = folder / "float32.gguf"
    try:
        write_float32(model, plain)
        _quantize(plain, folder / FILE, job.precision)
    finally:
        plain.unlink(missing_ok=True)


def _refuse_odd_rows(model: Any, precision: str) -> None:
    """Of matrices whose rows pruning shortens."""
    layers = model.model.layers
    rows = {
        x.in_features for layer in layers for x in (layer.mlp.down_proj, layer.self_attn.o_proj)
    }
    if odd := sorted(n for n in rows if n % _LEAST_BLOCK):
        raise Unsupported(
            f"{precision} packs blocks of at least {_LEAST_BLOCK} weights of a row, and this "
            f"model has rows of {odd[0]}"
        )


def write_float32(model: Any, path: Path) -> None:
    """Writes the weights as they are.

    Args:
        model: In float32 on the CPU.
        path: Of the file.

    Raises:
        Unsupported: A tensor has no place in llama.cpp's architecture.
    """
    import gguf

    sizes = [_sizes(layer) for layer in model.model.layers]
    name = _architecture(model.config.model_type, uneven=len(set(sizes)) > 1)
    width = sizes[0][0] * model.model.layers[0].self_attn.head_dim
    if name == "qwen2" and width != model.config.hidden_size:
        raise Unsupported(
            f"llama.cpp's qwen2 wants heads of {model.config.hidden_size} together, the hidden "
            f"size; this model's are {width}"
        )
    turned = name in _TURNED
    writer = gguf.GGUFWriter(path, name)
    _write_sizes(writer, model, sizes)
    kind = {name: kind for kind, name in gguf.MODEL_ARCH_NAMES.items()}[name]
    names = gguf.get_tensor_name_map(kind, len(model.model.layers))
    for key, tensor in _tensors(model, turned):
        if (known := names.get_name(key, (".weight", ".bias"))) is None:
            raise Unsupported(f"llama.cpp's architecture {name} has no place for {key}")
        writer.add_tensor(known, tensor.contiguous().numpy())
    factors = _frequency_factors(model)
    if factors is not None:
        if not turned:
            raise Unsupported(f"llama.cpp's architecture {name} has no scaled rotary positions")
        writer.add_tensor("rope_freqs.weight", factors.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _architecture(model_type: str, uneven: bool) -> str:
    """llama.cpp's name of what computes such a model."""
    name = _ARCHITECTURES[model_type]
    if uneven and name not in _TURNED:
        raise Unsupported(
            f"llama.cpp's architecture {name} has layers of one size, and pruning has left this "
            "model's with several: prune.allocation=uniform"
        )
    return "deci" if uneven else name


def _sizes(layer: Any) -> tuple[int, int, int]:
    """Query heads, key-value heads and width of the MLP."""
    attention = layer.self_attn
    heads = (x.out_features // attention.head_dim for x in (attention.q_proj, attention.k_proj))
    return (*heads, layer.mlp.gate_proj.out_features)


def _write_sizes(
    writer: gguf.GGUFWriter, model: Any, sizes: Sequence[tuple[int, int, int]]
) -> None:
    """What llama.cpp builds its graph from."""
    config, layers = model.config, model.model.layers
    head_dim = layers[0].self_attn.head_dim
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(len(layers))
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    for add in (writer.add_key_length, writer.add_value_length, writer.add_rope_dimension_count):
        add(head_dim)
    even = len(set(sizes)) == 1
    heads, kept, widths = (list(of_layers) for of_layers in zip(*sizes, strict=True))
    writer.add_head_count(heads[0] if even else heads)
    writer.add_head_count_kv(kept[0] if even else kept)
    writer.add_feed_forward_length(widths[0] if even else widths)


def _tensors(model: Any, turned: bool) -> list[tuple[str, torch.Tensor]]:
    """All weights by transformers' names; a head that is the embedding is not written again."""
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    head_dim = model.model.layers[0].self_attn.head_dim
    found = []
    for key, tensor in model.state_dict().items():
        if tied and key == "lm_head.weight":
            continue
        rotated = turned and key.rsplit(".", 1)[0].endswith(("q_proj", "k_proj"))
        found.append((key, _interleaved(tensor, head_dim) if rotated else tensor))
    return found


def _interleaved(weight: torch.Tensor, head_dim: int) -> torch.Tensor:
    """Rows of each head in the order in which llama.cpp's ``llama`` rotates them: it turns
    neighbours, transformers the two halves of a head.

    Args:
        weight: ``[heads x head_dim, hidden]``, or a bias ``[heads x head_dim]``.
        head_dim: Rows of a head.
    """
    halves = weight.reshape(-1, 2, head_dim // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _frequency_factors(model: Any) -> torch.Tensor | None:
    """What the usual frequencies of rotary positions are divided by, ``[head_dim / 2]``."""
    import torch

    rotary = model.model.rotary_emb
    if rotary.attention_scaling != 1:
        raise Unsupported("rotary positions that scale attention are not written for llama.cpp")
    used = rotary.inv_freq.float()
    theta = float(model.config.rope_parameters["rope_theta"])
    usual = theta ** -(torch.arange(len(used)).float() / len(used))
    factors = usual / used
    return None if torch.allclose(factors, torch.ones_like(factors), atol=1e-4) else factors


def _quantize(source: Path, target: Path, precision: str) -> None:
    """By llama.cpp's own rules, which give some tensors of a format more bits than others."""
    from autotune_plugins._llamacpp_engine import quiet_llama

    library, log = quiet_llama()
    params = library.llama_model_quantize_default_params()
    params.ftype = _FILE_TYPES[precision]
    if library.llama_model_quantize(str(source).encode(), str(target).encode(), params):
        raise log.error(f"llama.cpp could not quantize to {precision}")

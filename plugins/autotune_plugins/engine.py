"""Other engines than torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from autotune.device import Device
from autotune.params import Choice, Params, Stage
from autotune.plugin import (
    Context,
    Estimate,
    ModelConfig,
    Plugin,
    Requires,
    Trait,
    Unsupported,
)
from autotune_plugins._capability import computes_bfloat16
from autotune_plugins._gguf_export import refuse_gguf
from autotune_plugins._sizes import BITS, checkpoint_dtype, shares

_PRECISIONS = {
    "onnxruntime": ("float32", "int8_dynamic"),
    "openvino": ("float32", "bfloat16", "int8_weight_only"),
    "llamacpp": ("float32", "bfloat16", "q8_0", "q6_k", "q4_k_m", "q4_0"),
}
_CONVERTING = tuple(_PRECISIONS)
"""Engines with a file format of their own, which the model is converted to."""
_GRAPHS = ("onnxruntime", "openvino")
"""Those that compute any graph, of encoders too."""

_PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "openvino": ("openvino",),
    "llamacpp": ("llama_cpp", "gguf"),
    "vllm": ("vllm",),
    "sglang": ("sglang",),
}
"""Modules of the process that serves, by backend."""
_CONVERTERS = {"onnxruntime": ("onnx", "onnxscript")}
"""Those of the process that converts."""

_BITS: dict[str, float] = {
    **(BITS | {"int8_dynamic": 8, "int8_weight_only": 8}),
    # With the scales of their blocks (ggml-common.h); q4_k_m has some tensors in q6_k.
    **{"q8_0": 8.5, "q6_k": 6.5625, "q4_k_m": 4.9, "q4_0": 4.5},
}
_LARGER_HEADS = ("q4_k_m", "q4_0")


class Engine(Plugin):
    """Execute the model in another engine than torch.

    onnxruntime and openvino compute a graph of the model, made once by torch.export, with a
    key-value cache: they pay on CPUs, for small models and small batches most, and their int8
    formats need no compiler. llamacpp is for models of the Llama and Qwen families: it pays where
    weights are read more than computed with, and packs them in 4 to 8 bits (q4_0 to q8_0, by
    llama.cpp's own rules); its keys, values and attention are float16 unless precision is float32.
    All three hold float32 weights, whatever the checkpoint's format, unless precision says
    otherwise. vllm and sglang serve on GPUs: they pay in throughput at large batches, but do not
    tell their logits, so the accuracy of such a trial is unknown. What runs is the model as
    pruning and distillation leave it.
    """

    name = "engine"
    params = {
        "backend": Choice(
            *("torch", "onnxruntime", "openvino", "llamacpp", "vllm", "sglang"),
            default="torch",
            # The same weights, but other sums: accuracy is scored through the engine itself.
            stage=Stage.MODEL,
            help="What executes the model.",
        ),
        "precision": Choice(
            *("float32", "bfloat16", "int8_dynamic", "int8_weight_only"),
            *("q8_0", "q6_k", "q4_k_m", "q4_0"),
            default="float32",
            stage=Stage.MODEL,
            when={"backend": _CONVERTING},
            help="Format in which the engine holds weights; it computes in it unless weight-only, "
            "beside q8_0 to q4_0 with activations in 8 bits.",
        ),
        "threads": Choice(
            *(0, 1, 2, 4, 8, 16, 32),
            default=0,
            stage=Stage.SETUP,
            when={"backend": _CONVERTING},
            help="The engine's threads within one operation; 0 is one for each core.",
        ),
    }
    requires = Requires(workload=(Trait.UNIFORM,))
    # All of these change how torch loads, holds or executes the model.
    conflicts = (
        *("precision", "quantize", "embedding", "attention", "compile"),
        *("threads", "cache", "speculative"),
    )

    def check(self, params: Params, model_config: ModelConfig, device: Device) -> None:
        backend = str(params["backend"])
        if (wanted := "cpu" if backend in _CONVERTING else "cuda") != device.kind:
            raise Unsupported(
                f"{backend} is tried on {wanted} devices only, this study runs on {device.kind}"
            )
        _check_packages(backend, params.get("precision"))
        if backend in _CONVERTING:
            _check_converting(params, model_config, device)

    def env(self, params: Params) -> dict[str, str]:
        # In a process of its own vLLM's memory would not be among this process's.
        return {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"} if params["backend"] == "vllm" else {}

    def imports(self, params: Params) -> tuple[str, ...]:
        return _PACKAGES[str(params["backend"])]

    def engine(self, model: Any, params: Params, context: Context) -> Any:
        backend = str(params["backend"])
        if backend not in _GRAPHS and context.task != "causal-lm":
            raise Unsupported(f"{backend} is used for causal language models, not {context.task}")
        if backend in _CONVERTING:
            return _converted(model, params, context)
        if backend == "vllm":
            from autotune_plugins._vllm_engine import VllmEngine

            return VllmEngine(model, context)
        from autotune_plugins._sglang_engine import SglangEngine

        return SglangEngine(model, context)

    def expects(self, params: Params) -> dict[str, str]:
        return {"engine": f"{params['backend']} {params.get('precision', '')}".rstrip()}

    def estimate(self, params: Params, model_config: ModelConfig) -> Estimate:
        if "precision" not in params:
            return Estimate()
        precision, own = str(params["precision"]), BITS[checkpoint_dtype(model_config)]
        read = kept = _BITS[precision]
        if precision in _LARGER_HEADS:
            read = kept = _with_larger_head(read, model_config)
        elif (params["backend"], precision) == ("openvino", "bfloat16"):
            kept = BITS["float32"]  # it computes in bfloat16, and keeps its weights
        return Estimate(weights_bytes=kept / own, memory_traffic=read / own)


def _with_larger_head(bits: float, model_config: ModelConfig) -> float:
    """Of all weights on average: llama.cpp keeps a head of 6 bits, or of 8 where rows are no
    multiples of 256, and it is the embedding where the two are tied (llama-quant.cpp)."""
    parts = shares(model_config)
    if parts is None:
        return bits
    head = _BITS["q6_k" if int(model_config["hidden_size"]) % 256 == 0 else "q8_0"]
    tied = model_config.get("tie_word_embeddings", False)
    return parts.linear * bits + (1 - parts.linear) * (head if tied else (bits + head) / 2)


def _check_packages(backend: str, precision: Any) -> None:
    needed = _PACKAGES[backend] + _CONVERTERS.get(backend, ())
    if precision == "int8_weight_only":
        needed += ("nncf",)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extra = f"'autotune[{backend}]'" if backend in _CONVERTING else backend
        raise Unsupported(f"{backend} needs {', '.join(missing)}: pip install {extra}")


def _check_converting(params: Params, model_config: ModelConfig, device: Device) -> None:
    backend, precision = str(params["backend"]), str(params["precision"])
    if precision not in _PRECISIONS[backend]:
        each = "; ".join(f"{name}: {', '.join(known)}" for name, known in _PRECISIONS.items())
        raise Unsupported(f"engine.precision must be one of the backend's ({each})")
    if (backend, precision) == ("openvino", "bfloat16") and not computes_bfloat16(device):
        raise Unsupported(f"{device.name} has no bfloat16: OpenVINO would compute in float32")
    _check_threads(int(params["threads"]), device)
    _check_layers(model_config)
    if backend == "llamacpp":
        refuse_gguf(model_config, precision)


def _check_threads(threads: int, device: Device) -> None:
    if threads == device.cores:
        raise Unsupported(f"{threads} threads is the default: one for each core")
    if threads > device.cores:
        raise Unsupported(f"{threads} threads are more than the {device.cores} cores here")


def _check_layers(model_config: ModelConfig) -> None:
    causal = any(str(a).endswith("CausalLM") for a in model_config.get("architectures") or ())
    others = set(model_config.get("layer_types") or ()) - {"full_attention"}
    if causal and others:
        raise Unsupported(
            "the graph's key-value cache is for layers that attend to all tokens; this model also "
            f"has {', '.join(sorted(others))} layers"
        )


def _converted(model: Any, params: Params, context: Context) -> Any:
    """Converts the model, frees its weights and loads the graph."""
    from autotune_plugins._exporting import Job, convert
    from autotune_plugins._graph_engine import GraphEncoder, GraphGenerator

    backend, precision = str(params["backend"]), str(params["precision"])
    threads = int(params["threads"]) or context.device.cores
    if backend == "openvino":
        from autotune_plugins._openvino_engine import require_known_malloc

        require_known_malloc()
    job = Job(backend, precision, context.task, _saturates(context.device))
    with _folder(context) as folder:
        if not any(folder.iterdir()):
            convert(model, job, folder, context.notes)
        if backend == "onnxruntime":
            from autotune_plugins._onnx_engine import OnnxGraph

            graph: Any = OnnxGraph(folder, precision, threads)
        elif backend == "llamacpp":
            from autotune_plugins._llamacpp_engine import LlamaCppGraph

            graph = LlamaCppGraph(folder, precision, threads, context.new_tokens)
        else:
            from autotune_plugins._openvino_engine import OpenvinoGraph

            graph = OpenvinoGraph(folder, precision, threads)
    if context.task == "causal-lm":
        return GraphGenerator(graph, context.new_tokens)
    return GraphEncoder(graph)


@contextmanager
def _folder(context: Context) -> Iterator[Path]:
    """Where the graph's files are, or are put: kept only in an exported model."""
    if context.engine_files is not None:
        context.engine_files.mkdir(exist_ok=True)
        yield context.engine_files
        return
    with TemporaryDirectory(prefix="autotune-engine-") as folder:
        yield Path(folder)


def _saturates(device: Device) -> bool:
    """Whether sums of int8 products overflow 16 bits here: x86 before its dot products (VNNI)."""
    return "avx2" in device.cpu_flags and not {"avx512_vnni", "avx_vnni"} & device.cpu_flags

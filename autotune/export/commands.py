"""Which other engines can take an exported directory, and the commands that run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from autotune.bench.exported.names import ENGINE_FOLDER, STRUCTURE
from autotune.export.files import ExportFile

_AUTO_CLASSES = {
    "causal-lm": "AutoModelForCausalLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "feature-extraction": "AutoModel",
}


def run_elsewhere(found: ExportFile, folder: Path) -> Iterator[str]:
    """Paragraphs of Markdown.

    Args:
        found: What is written.
        folder: Holds the model.
    """
    yield from _of_graph(found, folder / ENGINE_FOLDER)
    if (folder / STRUCTURE).is_file():
        yield (
            "The weights are stored in formats that `config.json` cannot describe, so "
            "transformers alone, vLLM and TGI cannot load this directory: `autotune.load` does."
        )
        return
    beside = " beside it" if (folder / ENGINE_FOLDER).is_dir() else ""
    yield (
        f"The weights{beside} are an ordinary checkpoint. These run them with settings of their "
        "own, which were not measured:"
    )
    yield "\n".join(["```", *_commands(found.spec.model.task), "```"])


def _commands(task: str) -> Iterator[str]:
    kind = _AUTO_CLASSES[task]
    yield f"python -c \"from transformers import {kind}; {kind}.from_pretrained('.')\""
    if task == "causal-lm":
        yield 'vllm serve "$PWD"'
        yield (
            'docker run --gpus all -p 8080:80 -v "$PWD":/model '
            "ghcr.io/huggingface/text-generation-inference --model-id /model"
        )


def _of_graph(found: ExportFile, folder: Path) -> Iterator[str]:
    if (folder / "model.onnx").is_file():
        yield f"`{ENGINE_FOLDER}/model.onnx` is the graph that was measured, for ONNX Runtime:"
        yield _ONNXRUNTIME
    elif (folder / "model.xml").is_file():
        yield f"`{ENGINE_FOLDER}/model.xml` is the graph that was measured, for OpenVINO:"
        yield _OPENVINO
    elif (folder / "model.gguf").is_file():
        yield (
            f"`{ENGINE_FOLDER}/model.gguf` is the file that was measured, for llama.cpp. It has "
            "no tokenizer: `autotune.load` and `serve.py` use the one beside it."
        )
        return
    else:
        return
    yield "`autotune.load` sets precision and threads as measured; a plain session does not."
    if found.spec.model.task == "causal-lm":
        yield (
            "Its inputs are `input_ids`, `positions` (which tokens' logits are wanted) and the "
            "keys and values of earlier tokens, or OpenVINO's own state in their place."
        )


_ONNXRUNTIME = """```python
import onnxruntime

session = onnxruntime.InferenceSession("engine/model.onnx")
print([(x.name, x.shape) for x in session.get_inputs()])
```"""

_OPENVINO = """```python
import openvino

compiled = openvino.Core().compile_model("engine/model.xml", "CPU")
print(compiled.inputs)
```"""

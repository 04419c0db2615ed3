"""An exported program → an ONNX file; no plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune.plugin import Unsupported
from autotune_plugins._exporting import Job


def write_onnx(exported: Any, states: list[tuple[int, int]], job: Job, folder: Path) -> None:
    """Writes ``model.onnx`` and, beside it, its weights.

    Args:
        exported: From ``export``.
        states: Of each key and value tensor its heads and their size.
        job: What is to be made.
        folder: Where to.

    Raises:
        Unsupported: Nothing in the model could be quantized.
    """
    if job.precision == "float32":
        save_onnx(exported, states, folder / "model.onnx")
        return
    plain = folder / "plain.onnx"
    save_onnx(exported, states, plain)
    quantize(plain, folder / "model.onnx", job)
    for file in folder.glob("plain.onnx*"):
        file.unlink()


def save_onnx(exported: Any, states: list[tuple[int, int]], file: Path) -> None:
    """Writes the graph in float32.

    Args:
        exported: From ``export``.
        states: Of each key and value tensor its heads and their size.
        file: Its weights go beside it.
    """
    import torch
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    count = len(states)
    given = ["positions", *(f"past.{i}" for i in range(count))] if states else ["attention_mask"]
    program = torch.onnx.export(
        exported,
        dynamo=True,
        input_names=["input_ids", *given],
        output_names=["output", *(f"present.{i}" for i in range(count))],
        verbose=False,
    )
    assert program is not None
    # Every node carries the stack of Python calls that it came from: more than a small model.
    ClearMetadataAndDocStringPass()(program.model)
    program.save(file, external_data=True)


def quantize(plain: Path, result: Path, job: Job) -> None:
    """Weights and activations in int8, the latter by their range in each call.

    Args:
        plain: The graph in float32.
        result: Where to; its weights go beside it.
        job: What is to be made.

    Raises:
        Unsupported: Nothing in the model could be quantized.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        plain,
        result,
        per_channel=True,
        reduce_range=job.saturates,
        weight_type=QuantType.QInt8,
        use_external_data_format=True,
    )
    graph = onnx.load(result, load_external_data=False).graph
    if not any(node.op_type == "MatMulInteger" for node in graph.node):
        raise Unsupported("ONNX Runtime found no matrix product to quantize in this model")

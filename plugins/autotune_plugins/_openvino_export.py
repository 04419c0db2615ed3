"""An exported program → OpenVINO's own files; no plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autotune_plugins._exporting import Job


def write_openvino(exported: Any, states: list[tuple[int, int]], job: Job, folder: Path) -> None:
    """Writes ``model.xml`` and its weights, ``model.bin``.

    Args:
        exported: From ``export``.
        states: Of each key and value tensor its heads and their size.
        job: What is to be made.
        folder: Where to.
    """
    save_openvino(to_openvino(exported, states), job, folder)


def to_openvino(exported: Any, states: list[tuple[int, int]]) -> Any:
    """The model in OpenVINO's own form, in float32.

    Args:
        exported: From ``export``.
        states: Of each key and value tensor its heads and their size.
    """
    import openvino

    model = openvino.convert_model(exported)
    if states:
        _keep_states(model, states)
    return model


def save_openvino(model: Any, job: Job, folder: Path) -> None:
    """Writes a model in the precision that is wanted.

    Args:
        model: From ``to_openvino``; not to be used again.
        job: What is to be made.
        folder: Where to.
    """
    import openvino

    if job.precision == "int8_weight_only":
        import nncf

        model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_ASYM)
    openvino.save_model(model, folder / "model.xml", compress_to_fp16=False)


def _keep_states(model: Any, states: list[tuple[int, int]]) -> None:
    """Makes keys and values the model's own state, which no call copies in and out. The CPU
    plugin fuses them with attention only where a ``beam_idx`` reorders them, so there is one."""
    import openvino
    from openvino import opset13 as ops
    from openvino._offline_transformations import apply_make_stateful_transformation

    beam = ops.parameter(openvino.PartialShape([-1]), openvino.Type.i32, name="beam_idx")
    beam.output(0).get_tensor().set_names({"beam_idx"})
    model.add_parameters([beam])
    pairs: dict[str, str] = {}
    past, present = model.inputs[2 : 2 + len(states)], model.outputs[1:]
    for i, (before, after) in enumerate(zip(past, present, strict=True)):
        pairs[f"past.{i}"] = f"present.{i}"
        before.get_tensor().set_names({f"past.{i}"})
        after.get_tensor().set_names({f"present.{i}"})
        readers = before.get_target_inputs()
        ordered = ops.gather(before.get_node(), beam, ops.constant(0))
        for reader in readers:
            reader.replace_source_output(ordered.output(0))
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, pairs)
    _begin_empty(model, {f"past.{i}present.{i}": sizes for i, sizes in enumerate(states)})
    model.validate_nodes_and_infer_types()


def _begin_empty(model: Any, sizes: dict[str, tuple[int, int]]) -> None:
    """After a reset a state holds no tokens, of as many sequences as come in."""
    import numpy as np
    from openvino import opset13 as ops

    shape = ops.shape_of(model.inputs[0].get_node(), output_type="i64")
    sequences = ops.gather(shape, ops.constant(np.array([0])), ops.constant(0))
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            heads, size = sizes[node.get_variable_id()]
            rest = ops.constant(np.array([heads, 0, size], np.int64))
            zeros = ops.constant(0.0, dtype=np.float32)
            node.set_arguments([ops.broadcast(zeros, ops.concat([sequences, rest], 0))])

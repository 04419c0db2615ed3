"""LoRA adapters to try serving with: of the shape that a model asks for, and of random weights."""

from __future__ import annotations

import json
from pathlib import Path

from autotune.errors import InputError
from autotune.workload.adapters import CONFIG, PREFIX, WEIGHTS
from autotune.workload.model import weight_shapes

_TARGETS = ("q_proj", "v_proj")
"""What the first LoRA adapters of language models changed (Hu et al., 2021, section 4.2)."""

_SCALE = 0.02
"""Standard deviation of the second matrix: enough that each adapter's answers are others."""


def projections(model: Path) -> dict[str, tuple[int, ...]]:
    """The weights that adapters are made for, by the names of their modules; none where layers
    call their projections otherwise.

    Args:
        model: A checkpoint.
    """
    return {
        name.removesuffix(".weight"): shape
        for name, shape in weight_shapes(model).items()
        if name.removesuffix(".weight").endswith(_TARGETS)
    }


def write_adapters(model: Path, folder: Path, count: int, rank: int = 8) -> list[Path]:
    """Writes adapters as peft would.

    Args:
        model: A checkpoint whose layers call their projections as Llama's do.
        folder: Gets one folder for each.
        count: How many.
        rank: Of each.

    Returns:
        Their folders.

    Raises:
        InputError: The model has no such projections.
    """
    import numpy
    from safetensors.numpy import save_file

    shapes = projections(model)
    if not shapes:
        raise InputError(f"{model} has no {' or '.join(_TARGETS)} to make adapters for")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(model),
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(_TARGETS),
    }
    made = []
    for number in range(count):
        chance = numpy.random.default_rng(number)
        weights = {}
        for name, (outputs, inputs) in shapes.items():
            first = chance.standard_normal((rank, inputs)) / inputs**0.5
            second = chance.standard_normal((outputs, rank)) * _SCALE
            weights[f"{PREFIX}{name}.lora_A.weight"] = first.astype("float32")
            weights[f"{PREFIX}{name}.lora_B.weight"] = second.astype("float32")
        own = folder / f"adapter_{number}"
        own.mkdir(parents=True)
        save_file(weights, own / WEIGHTS)
        (own / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        made.append(own)
    return made

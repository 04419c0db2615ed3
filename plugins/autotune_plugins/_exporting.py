"""A torch model → the file of another engine, in a process of its own; no plugin.

torch.export and what converts its result leave over a hundred megabytes in a process, which would
be measured as the model's: ``python -m autotune_plugins._exporting FOLDER`` does it elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.plugin import Unsupported

if TYPE_CHECKING:
    import torch

_MODEL, _REFUSAL = "model.pt", "refusal.txt"
_LAST_WORDS = 1000


@dataclass(frozen=True)
class Job:
    """What is to be made."""

    backend: str
    precision: str
    task: str
    saturates: bool
    """Whether int8 weights must keep to 7 bits."""


def convert(model: Any, job: Job, folder: Path, notes: list[str]) -> None:
    """Writes ``model.onnx``, ``model.xml`` or ``model.gguf``, and frees the weights.

    Args:
        model: A transformers model with plain weights; its tensors are on torch's meta device
            afterwards.
        job: What is to be made.
        folder: Empty.
        notes: What a person should know is appended.

    Raises:
        Unsupported: The graph cannot hold the model.
        RuntimeError: The conversion failed.
    """
    import torch

    _refuse_quantized(model)
    if model.dtype != torch.float32 and job.precision == "float32":
        notes.append(f"the engine holds the checkpoint's {model.dtype} weights as float32")
    torch.save((model, job), folder / _MODEL)
    model.to("meta")
    command = [sys.executable, "-m", "autotune_plugins._exporting", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    (folder / _MODEL).unlink()
    if (refusal := folder / _REFUSAL).exists():
        raise Unsupported(refusal.read_text(encoding="utf-8"))
    if done.returncode:
        words = done.stderr.strip()[-_LAST_WORDS:]
        raise RuntimeError(f"converting the model for {job.backend} failed: {words}")


def _refuse_quantized(model: Any) -> None:
    import torch

    for name, weight in model.named_parameters():
        if type(weight.data) is not torch.Tensor or not weight.is_floating_point():
            raise Unsupported(
                f"{name} is stored as {type(weight.data).__name__} in {weight.dtype}: another "
                "engine's graph holds plain weights; it quantizes by engine.precision"
            )


def main(folder: Path) -> None:
    """Converts what ``convert`` left in a folder."""
    import torch

    model, job = torch.load(folder / _MODEL, weights_only=False)
    try:
        _write(model.cpu().float(), job, folder)
    except Unsupported as refusal:
        (folder / _REFUSAL).write_text(str(refusal), encoding="utf-8")


def _write(model: Any, job: Job, folder: Path) -> None:
    if job.backend == "llamacpp":
        from autotune_plugins._gguf_export import write_gguf

        write_gguf(model, job, folder)
        return
    exported, states = export(model, job.task)
    if job.backend == "onnxruntime":
        from autotune_plugins._onnx_export import write_onnx

        write_onnx(exported, states, job, folder)
    else:
        from autotune_plugins._openvino_export import write_openvino

        write_openvino(exported, states, job, folder)


def export(model: Any, task: str) -> tuple[Any, list[tuple[int, int]]]:
    """The program of one pass, of any number of sequences, tokens and tokens before them.

    Args:
        model: In float32 on the CPU.
        task: What it is served for.

    Returns:
        The program, and of each key and value tensor its heads and their size; none for encoders.
        A causal model's inputs are ``input_ids`` ``[sequences, tokens]``, ``positions`` (those
        whose logits are wanted) and the past keys and values, its outputs logits and all keys and
        values; an encoder's inputs are ``input_ids`` and ``attention_mask``.
    """
    import torch

    model.eval().requires_grad_(False)
    ids = torch.zeros(2, 3, dtype=torch.long)
    # Not by names: a named size must have no limit, as learned positions have.
    any_size = torch.export.Dim.DYNAMIC
    both = {0: any_size, 1: any_size}
    if task != "causal-lm":
        given: tuple[Any, ...] = (ids, torch.ones_like(ids))
        shapes: Any = {"input_ids": both, "attention_mask": both}
        return torch.export.export(_encoder(model, task), given, dynamic_shapes=shapes), []
    states = [(t.shape[1], t.shape[3]) for t in _keys_and_values(model, ids)]
    past = [torch.zeros(2, heads, 5, size) for heads, size in states]
    before = {0: any_size, 2: any_size}
    shapes = {
        "input_ids": both,
        "positions": {0: any_size},
        "past": [before] * len(past),
    }
    given = (ids, torch.tensor([0, 2]), past)
    return torch.export.export(_decoder(model), given, dynamic_shapes=shapes), states


def _keys_and_values(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """Of a first pass.

    Raises:
        Unsupported: The cache has another form than one tensor of keys and values a layer.
    """
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    cache = model(input_ids=ids, use_cache=True).past_key_values
    if type(cache) is not DynamicCache or {type(x) for x in cache.layers} != {DynamicLayer}:
        kinds = sorted({type(x).__name__ for x in getattr(cache, "layers", [cache])})
        raise Unsupported(
            "the graph's key-value cache is for layers that attend to all tokens; this model's is "
            f"made of {', '.join(kinds)}"
        )
    return [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]


def _decoder(model: Any) -> torch.nn.Module:
    import inspect

    import torch
    from transformers import DynamicCache

    keeps = "logits_to_keep" in inspect.signature(type(model).forward).parameters

    class Decoder(torch.nn.Module):
        """The model with its cache as plain tensors."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: torch.Tensor, positions: torch.Tensor, past: Sequence[torch.Tensor]
        ) -> tuple[torch.Tensor, list[torch.Tensor]]:
            cache = DynamicCache(config=self.model.config)
            for layer, keys, values in zip(cache.layers, past[::2], past[1::2], strict=True):
                # update() would begin with an empty tensor of one dimension.
                layer.lazy_initialization(keys, values)
                layer.keys, layer.values = keys, values
            less = {"logits_to_keep": positions} if keeps else {}
            output = self.model(input_ids=input_ids, past_key_values=cache, use_cache=True, **less)
            logits = output.logits if keeps else output.logits[:, positions]
            return logits, [t for layer in cache.layers for t in (layer.keys, layer.values)]

    return Decoder().eval()


def _encoder(model: Any, task: str) -> torch.nn.Module:
    import torch

    class Encoder(torch.nn.Module):
        """Class logits, or the mean of the last hidden states over real tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            output = self.model(input_ids=input_ids, attention_mask=attention_mask)
            if task == "sequence-classification":
                logits: torch.Tensor = output.logits
                return logits
            mask = attention_mask.unsqueeze(-1)
            hidden: torch.Tensor = output.last_hidden_state
            return (hidden * mask).sum(1) / mask.sum(1)

    return Encoder().eval()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

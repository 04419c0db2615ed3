"""Whether what the transforms made can be saved and loaded again."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from autotune.bench.meters.memory import is_offloaded
from autotune.errors import BenchError
from autotune.outcome import Outcome


def save_and_reload(model: Any, outputs: Callable[[], torch.Tensor]) -> None:
    """Writes the model's state dict to a file and goes on with the tensors that are read from it.

    Args:
        model: Anything but a ``torch.nn.Module`` is left alone: its engine has its own files.
        outputs: The model's, on something that does not change.

    Raises:
        BenchError: The file is no plain data, or the outputs are others afterwards.
    """
    if not isinstance(model, torch.nn.Module):
        return
    before = outputs()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pt"
        torch.save(_held(model), file)
        # What runs code of its own to be read is no checkpoint.
        if code := torch.serialization.get_unsafe_globals_in_checkpoint(file):
            raise _failed(
                f"its saved weights hold {', '.join(code)}, which torch does not read as data: "
                "see torch.serialization.add_safe_globals"
            )
        read = torch.load(file, weights_only=True)
        model.load_state_dict(read, strict=False, assign=True)
    after = outputs()
    if not torch.equal(before, after):
        most = (before - after).abs().max().item()
        raise _failed(f"saved and loaded, its outputs differ by up to {most:.3g}")


def _held(model: torch.nn.Module) -> dict[str, Any]:
    """The state dict without the weights that stay where they are: on disk, say."""
    named = model.named_parameters(remove_duplicate=False)
    elsewhere = {name for name, weight in named if is_offloaded(weight)}
    state = model.state_dict()
    return {name: tensor for name, tensor in state.items() if name not in elsewhere}


def _failed(words: str) -> BenchError:
    return BenchError(Outcome.INVALID_OUTPUT, words)

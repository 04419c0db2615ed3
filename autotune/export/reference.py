"""The outputs that an exported model is known by, on fixed tokens."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from autotune.bench.exported.names import TOKENS_FILE
from autotune.environment import library_versions
from autotune.errors import InputError
from autotune.execute.session import BenchSession
from autotune.export.files import REFERENCE_FILE
from autotune.messages import TrialSpec

_SEQUENCES, _TOKENS = 2, 32
_BYTES = 16 << 20
"""A causal model has an output for each token and each entry of its vocabulary."""

TOLERANCES = {"float16": 1e-3, "bfloat16": 1.6e-2}
"""torch.testing's relative tolerances; what is computed again on the same machine is mostly equal
to the last bit."""
_TOLERANCE = 1e-5
_ELSEWHERE = 5e-2
"""On another machine or with other libraries, whose kernels add in another order: far less than
what a wrong weight does."""
_PROCESSORS = frozenset({"device", "device_kind", "cpu_model", "cpu_flags_sha256"})


@dataclass(frozen=True)
class Outputs:
    """What a model answers to fixed tokens."""

    input_ids: NDArray[np.int64]
    """``[sequences, tokens]``."""
    values: NDArray[Any]
    """Logits or embeddings in float32; of an engine that tells neither, generated tokens."""

    @property
    def is_tokens(self) -> bool:
        """Whether these are generated tokens."""
        return self.values.dtype.kind == "i"

    def max_abs_difference(self, other: Outputs) -> float:
        """The largest difference of two outputs; infinite where they are of different forms."""
        if self.values.shape != other.values.shape:
            return float("inf")
        difference = np.abs(self.values.astype(np.float64) - other.values)
        return float("inf") if np.isnan(difference).any() else float(difference.max())

    def limit(self, tolerance: float) -> float:
        """The largest difference that is allowed.

        Args:
            tolerance: Relative to the largest output; tokens are equal or not.
        """
        return 0.0 if self.is_tokens else tolerance * float(np.abs(self.values).max())

    def save(self, folder: Path) -> None:
        """Writes them for ``read_reference``."""
        save_file({"input_ids": self.input_ids, "values": self.values}, folder / REFERENCE_FILE)


def read_reference(folder: Path) -> Outputs:
    """The stored outputs.

    Raises:
        InputError: The file is damaged.
    """
    try:
        found = load_file(folder / REFERENCE_FILE)
        return Outputs(found["input_ids"], found["values"])
    except (OSError, KeyError, SafetensorError) as error:
        raise InputError(f"cannot read {folder / REFERENCE_FILE}: {error}") from error


def fixed_tokens(folder: Path) -> NDArray[np.int64]:
    """The beginnings of the first prompts, ``[sequences, tokens]``: as long as their outputs are
    small."""
    found = load_file(folder / TOKENS_FILE)
    prompts = found["prompts.input_ids"][:_SEQUENCES]
    mask = found.get("prompts.attention_mask", np.ones_like(prompts))[:_SEQUENCES]
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    fitting = _BYTES // (4 * _SEQUENCES * int(config.get("vocab_size", 1)))
    length = max(1, min(int(mask.sum(1).min()), _TOKENS, fitting))
    return np.ascontiguousarray(prompts[:, :length], dtype=np.int64)


def ask_outputs(session: BenchSession, spec: TrialSpec, input_ids: NDArray[np.int64]) -> Outputs:
    """What a prepared process answers.

    Args:
        session: Has prepared the trial.
        spec: The trial.
        input_ids: ``[sequences, tokens]``.

    Raises:
        BenchError: The process failed.
    """
    with tempfile.TemporaryDirectory(prefix="autotune-outputs-") as folder:
        file = Path(folder) / "outputs.safetensors"
        reply = session.outputs(spec, tuple(map(tuple, input_ids.tolist())), file)
        if reply.tokens:
            return Outputs(input_ids, np.array(reply.tokens, dtype=np.int64))
        return Outputs(input_ids, load_file(file)["outputs"])


def tolerance_with(tolerance: float, differing: Iterable[str]) -> float:
    """The tolerance where keys of the environment are not as they were: more only where other
    kernels compute."""
    computing = _PROCESSORS | library_versions().keys()
    return tolerance if computing.isdisjoint(differing) else max(tolerance, _ELSEWHERE)


def tolerance_of(folder: Path) -> float:
    """How much outputs of a model of this number format may differ, relative to the largest."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return TOLERANCES.get(str(config.get("dtype") or config.get("torch_dtype")), _TOLERANCE)

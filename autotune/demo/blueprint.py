"""What a demo model is made of and what is known of it once made; light to import."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from autotune.errors import InputError, unknown_name
from autotune.workload.paths import require_writable

BLUEPRINT_VERSION = 1
"""Raise it when shapes, texts or training change: cached models are then built anew."""

REPORT_NAME = "demo_model.json"
"""The file that marks a directory as a finished demo model."""


@dataclass(frozen=True)
class Blueprint:
    """Shape and budget of one size."""

    vocabulary_size: int
    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    feed_forward_size: int
    budget_seconds: float
    """Wall clock of everything before the final evaluation."""
    corpus_bytes: int
    """Cap of each kind of text."""
    fewest_steps: int
    """Taken even if the budget is over: a machine that is busy still gets a trained model."""


BLUEPRINTS = {
    "tiny": Blueprint(
        1024, 64, 2, 4, 2, 128, budget_seconds=6.0, corpus_bytes=300_000, fewest_steps=60
    ),
    "small": Blueprint(
        2048, 192, 4, 6, 2, 512, budget_seconds=140.0, corpus_bytes=1_500_000, fewest_steps=20
    ),
}
"""Every size, by name. Widths are multiples of 64: weights quantize in groups of 32 or 64."""


@dataclass(frozen=True)
class DemoModelReport:
    """How well a demo model was trained. Held-out text is never trained on."""

    size: str
    parameters: int
    heldout_perplexity: float
    """On the shipped evaluation text."""
    unigram_perplexity: float
    """Of a model that knows token frequencies only, on the same tokens."""
    bits_per_byte: float
    """Of the model on the evaluation text; comparable across tokenizers."""
    stdlib_perplexity: float
    """On source files of the standard library that were held out."""
    stdlib_unigram_perplexity: float
    stdlib_bits_per_byte: float
    train_seconds: float
    steps: int
    seed: int
    dtype: str
    """Precision of the training's matrix products; the weights are float32 throughout."""
    blueprint_version: int = BLUEPRINT_VERSION
    schema_version: int = 1

    def to_json(self) -> str:
        """Renders as the text of ``demo_model.json``."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, directory: Path) -> DemoModelReport:
        """Reads the report of a finished model.

        Raises:
            FileNotFoundError: The directory holds no finished demo model.
        """
        return cls(**json.loads((directory / REPORT_NAME).read_text("utf-8")))


def check_request(directory: Path, size: str) -> None:
    """Refuses what cannot work, before anything starts.

    Raises:
        InputError: The size is unknown, or the directory is in use or cannot be written.
    """
    if size not in BLUEPRINTS:
        raise InputError(unknown_name("demo model size", size, BLUEPRINTS))
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file; give a directory that is new or empty")
    if directory.is_dir() and any(directory.iterdir()):
        raise InputError(f"{directory} is not empty; give a directory that is new or empty")
    require_writable(
        directory.absolute().parent, "the folder", "give a directory inside one that can be"
    )


def staging_directory(directory: Path, process_id: int) -> Path:
    """Where the process writes the files before it renames them into place at once."""
    return directory.parent / f".{directory.name}.{process_id}.partial"

"""What a model's fingerprint depends on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotune.workload import model
from autotune.workload.model import fingerprint, resolve

SMALL_FILES = (
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "modeling_own.py",
    "special_tokens_map.json",
    "generation_config.json",
)
"""What the outputs depend on besides configuration and weights."""


def weights(fill: float = 0.0, rows: int = 8) -> dict[str, Any]:
    return {"model.weight": np.full((rows, 8), fill, dtype=np.float32)}


def test_fingerprint_stays_when_nothing_changes(checkpoint: Path, tmp_path: Path) -> None:
    first = fingerprint(checkpoint)
    (checkpoint / "README.md").write_text("words", encoding="utf-8")
    assert fingerprint(checkpoint) == first
    assert fingerprint(checkpoint.rename(tmp_path / "elsewhere")) == first


def change_weights(directory: Path) -> None:
    save_file(weights(1.0), directory / "model.safetensors")


def change_size(directory: Path) -> None:
    save_file(weights(rows=9), directory / "model.safetensors")


def add_code(directory: Path) -> None:
    (directory / "configuration_own.py").write_text("x = 1", encoding="utf-8")


def change_config(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps({"x": 1}), encoding="utf-8")


def add_tokenizer(directory: Path) -> None:
    (directory / "tokenizer.json").write_text("{}", encoding="utf-8")


def writes(name: str) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        (directory / name).write_text("changed", encoding="utf-8")

    change.__name__ = name
    return change


def rename_weights(directory: Path) -> None:
    (directory / "model.safetensors").rename(directory / "other.safetensors")


@pytest.mark.parametrize(
    "change",
    [
        change_weights,
        change_size,
        add_code,
        change_config,
        add_tokenizer,
        rename_weights,
        *map(writes, SMALL_FILES),
    ],
)
def test_fingerprint_changes_with(checkpoint: Path, change: Callable[[Path], None]) -> None:
    for name in SMALL_FILES:
        (checkpoint / name).write_text("unchanged", encoding="utf-8")
    first = fingerprint(checkpoint)
    change(checkpoint)
    assert fingerprint(checkpoint) != first


def differs_at(checkpoint: Path, position: int) -> bool:
    """Whether another byte there, in weights of 3.2 MB, is another fingerprint."""
    file = checkpoint / "model.safetensors"
    save_file(weights(rows=100_000), file)
    first = fingerprint(checkpoint)
    content = bytearray(file.read_bytes())
    content[position] ^= 1
    file.write_bytes(content)
    return fingerprint(checkpoint) != first


@pytest.mark.parametrize("position", [100, 1_000_001, 1_600_000, -100])
def test_fingerprint_reads_all_of_small_weights(checkpoint: Path, position: int) -> None:
    assert differs_at(checkpoint, position)


def test_fingerprint_reads_pieces_of_large_weights(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "_PIECE_BYTES", 40_000)  # 64 of 40 kB: four fifths of the file
    found = [differs_at(checkpoint, p) for p in (100, *range(50_000, 3_200_000, 130_001), -100)]
    assert found[0]
    assert found[-1]
    assert len(found) / 2 < sum(found) < len(found)


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer.json", "onnx", "parts.txt"])
def test_fingerprint_leaves_directories_out(checkpoint: Path, name: str) -> None:
    first = fingerprint(checkpoint)
    (checkpoint / name).mkdir()
    (checkpoint / name / "vocab.txt").write_text("a", encoding="utf-8")
    assert fingerprint(checkpoint) == first
    assert resolve(str(checkpoint)).fingerprint == first

"""Broken models are refused before any work starts, and say how to mend them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from autotune.errors import InputError
from autotune.messages import Trust
from autotune.workload import model
from autotune.workload.model import fingerprint, read_config, resolve, weights_file_bytes

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
CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8}


def weights(fill: float = 0.0, rows: int = 8) -> dict[str, Any]:
    return {"model.weight": np.full((rows, 8), fill, dtype=np.float32)}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The least that is a checkpoint."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    save_file(weights(), directory / "model.safetensors")
    return directory


def refusal(model: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        resolve(str(model))
    return str(caught.value)


def test_resolve_finds_a_directory(checkpoint: Path) -> None:
    found = resolve(str(checkpoint))
    assert (found.path, found.name) == (str(checkpoint.resolve()), str(checkpoint))
    assert (found.task, found.trust) == ("causal-lm", Trust())
    assert len(found.fingerprint) == 64


def test_resolve_follows_home_and_links(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    assert resolve("~/model").path == str(checkpoint.resolve())
    link = checkpoint.parent / "link"
    link.symlink_to(checkpoint)
    assert resolve(str(link)).path == str(checkpoint.resolve())


@pytest.mark.parametrize(
    ("architecture", "task"),
    [
        ("LlamaForCausalLM", "causal-lm"),
        ("GPT2LMHeadModel", "causal-lm"),
        ("BertForSequenceClassification", "sequence-classification"),
        ("BertModel", "feature-extraction"),
    ],
)
def test_task_is_read_from_the_architecture(
    checkpoint: Path, architecture: str, task: str
) -> None:
    config = json.dumps({"architectures": [architecture]})
    (checkpoint / "config.json").write_text(config, encoding="utf-8")
    assert resolve(str(checkpoint)).task == task


def test_task_of_a_config_without_architectures_is_the_plain_model(checkpoint: Path) -> None:
    (checkpoint / "config.json").write_text("{}", encoding="utf-8")
    assert resolve(str(checkpoint)).task == "feature-extraction"


@pytest.mark.parametrize(
    ("architectures", "task"),
    [
        ({}, "feature-extraction"),
        (None, "feature-extraction"),
        ([], "feature-extraction"),
        ("LlamaForCausalLM", "causal-lm"),
    ],
)
def test_task_of_architectures_that_are_no_list(
    checkpoint: Path, architectures: object, task: str
) -> None:
    config = json.dumps({"architectures": architectures})
    (checkpoint / "config.json").write_text(config, encoding="utf-8")
    assert resolve(str(checkpoint)).task == task


@pytest.mark.parametrize("architectures", [{"a": "b"}, [5], [["x"]], 7])
def test_task_of_architectures_that_name_nothing_is_asked_for(
    checkpoint: Path, architectures: object
) -> None:
    config = json.dumps({"architectures": architectures})
    (checkpoint / "config.json").write_text(config, encoding="utf-8")
    assert "name it with --task" in refusal(checkpoint)


def test_task_unknown_is_asked_for_and_may_be_given(checkpoint: Path) -> None:
    config = json.dumps({"architectures": ["T5ForConditionalGeneration"]})
    (checkpoint / "config.json").write_text(config, encoding="utf-8")
    assert "what T5ForConditionalGeneration does; name it with --task" in refusal(checkpoint)
    assert resolve(str(checkpoint), task="causal-lm").task == "causal-lm"


def test_missing_config(checkpoint: Path) -> None:
    (checkpoint / "config.json").unlink()
    assert "has no config.json" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"\xff\xfe", "cannot be read as JSON"),
        (b"[1]", "must hold a JSON object"),
        (b"null", "must hold a JSON object"),
    ],
)
def test_broken_config(checkpoint: Path, content: bytes, words: str) -> None:
    (checkpoint / "config.json").write_bytes(content)
    assert words in refusal(checkpoint)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def grow(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0" * 10)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def garble(file: Path) -> None:
    file.write_bytes(b"\x10" + b"\0" * 7 + b"no header here!!")


def point_at_nothing(file: Path) -> None:
    """A git checkout without LFS."""
    file.write_text("version https://git-lfs.github.com/spec/v1\n", encoding="utf-8")


@pytest.mark.parametrize("damage", [cut, grow, empty, garble, point_at_nothing])
def test_broken_safetensors(checkpoint: Path, damage: Callable[[Path], None]) -> None:
    damage(checkpoint / "model.safetensors")
    assert "model.safetensors is broken or cut short" in refusal(checkpoint)


def test_safetensors_without_tensors(checkpoint: Path) -> None:
    save_file({}, checkpoint / "model.safetensors")
    assert "model.safetensors holds no tensors" in refusal(checkpoint)


def test_safetensors_that_is_a_directory(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    (checkpoint / "model.safetensors").mkdir()
    assert "broken or cut short" in refusal(checkpoint)


def test_no_weights(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    assert refusal(checkpoint).endswith("holds no *.safetensors file")


def test_pickles_only(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    words = refusal(checkpoint)
    assert "only pickled weights, which can run code when loaded" in words
    assert "save_pretrained" in words
    assert "--allow-pickle" in words


def test_pickles_are_taken_where_they_are_allowed_and_there_is_nothing_else(
    checkpoint: Path,
) -> None:
    allowed, pickled = Trust(allow_pickle=True), checkpoint / "pytorch_model.bin"
    pickled.write_bytes(b"not looked at")
    beside = fingerprint(checkpoint)
    pickled.write_bytes(b"never loaded")
    assert fingerprint(checkpoint) == beside
    (checkpoint / "model.safetensors").unlink()
    found = resolve(str(checkpoint), trust=allowed)
    assert found.trust == allowed
    assert weights_file_bytes(checkpoint) == len(b"never loaded")
    pickled.write_bytes(b"of another kind")
    assert fingerprint(checkpoint) != found.fingerprint
    index = {"weight_map": {"a": "pytorch_model-00001-of-00002.bin"}}
    (checkpoint / "pytorch_model.bin.index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(InputError, match=r"lacks the weight files pytorch_model-00001-of"):
        resolve(str(checkpoint), trust=allowed)


def shard(checkpoint: Path, *present: str) -> None:
    (checkpoint / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    text = json.dumps(index)
    (checkpoint / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    for name in present:
        save_file(weights(), checkpoint / name)


def test_missing_shard(checkpoint: Path) -> None:
    shard(checkpoint, "model-00001-of-00002.safetensors")
    assert "lacks the weight files model-00002-of-00002.safetensors" in refusal(checkpoint)


def test_all_shards(checkpoint: Path) -> None:
    shard(checkpoint, "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    assert resolve(str(checkpoint)).task == "causal-lm"


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        "[]",
        "5",
        '{"weight_map": [1]}',
        '{"weight_map": {"a": 5}}',
        '{"weight_map": {"a": []}}',
    ],
)
def test_broken_index(checkpoint: Path, content: str) -> None:
    (checkpoint / "model.safetensors.index.json").write_text(content, encoding="utf-8")
    assert "model.safetensors.index.json is broken" in refusal(checkpoint)


def test_file_instead_of_a_directory(checkpoint: Path) -> None:
    assert "is a file; expected a checkpoint directory" in refusal(
        checkpoint / "model.safetensors"
    )


@pytest.mark.parametrize("model", ["./none", "/none/at/all", "none", "a/b/c", "~/none", ""])
def test_path_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if model:
        assert "does not exist; expected a checkpoint directory" in refusal(model)
    else:
        assert "has no config.json" in refusal(model)


@pytest.mark.parametrize("model", ["m" * 5000, "org/" + "m" * 5000, "~nouser/m", "a\0b"])
def test_name_that_can_be_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert refusal(model).startswith(f"model {model[:50]!r}"[:-1])


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_HUB_OFFLINE=1 does, with an empty hub cache."""
    import huggingface_hub.constants

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("offline")
def test_hub_id_offline() -> None:
    words = refusal("some/model")
    assert "is not in the hub cache, and the hub cannot be reached (offline?)" in words


@pytest.mark.usefixtures("offline")
def test_hub_id_that_is_none() -> None:
    assert "is neither a directory nor a hub id" in refusal("some model/with spaces")


def test_fingerprint_stays_when_nothing_changes(checkpoint: Path, tmp_path: Path) -> None:
    first = fingerprint(checkpoint)
    (checkpoint / "README.md").write_text("words", encoding="utf-8")
    assert fingerprint(checkpoint) == first
    assert fingerprint(checkpoint.rename(tmp_path / "elsewhere")) == first


def change_weights(directory: Path) -> None:
    save_file(weights(1.0), directory / "model.safetensors")


def change_size(directory: Path) -> None:
    save_file(weights(rows=9), directory / "model.safetensors")


def add_shard(directory: Path) -> None:
    save_file(weights(), directory / "more.safetensors")


def change_config(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps({**CONFIG, "x": 1}), encoding="utf-8")


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
        add_shard,
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


def test_read_config(checkpoint: Path) -> None:
    assert read_config(checkpoint) == CONFIG

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
from autotune.trust import Trust
from autotune.workload.model import fingerprint, read_config, resolve, weights_file_bytes

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8}


def weights() -> dict[str, Any]:
    return {"model.weight": np.zeros((8, 8), np.float32)}


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
    words = "holds no model.safetensors, and no index of its parts"
    assert refusal(checkpoint).endswith(words)
    save_file(weights(), checkpoint / "adapter_model.safetensors")
    assert refusal(checkpoint).endswith(words), "it would not be loaded"


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
    pickled.unlink()
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


@pytest.mark.parametrize("part", ["evil.bin", "../evil.safetensors", "/evil.safetensors"])
def test_index_cannot_name_files_of_another_kind_or_place(checkpoint: Path, part: str) -> None:
    """transformers would load them, pickled ones too."""
    (checkpoint / "model.safetensors").rename(checkpoint / "other.safetensors")
    (checkpoint / "evil.bin").write_bytes(b"")
    index = {"weight_map": {"a": "other.safetensors", "b": part}}
    text = json.dumps(index)
    (checkpoint / "model.safetensors.index.json").write_text(text, encoding="utf-8")
    assert f"names {part}; allowed: names of *.safetensors files beside it" in refusal(checkpoint)


def test_config_cannot_name_the_weights(checkpoint: Path) -> None:
    """transformers would take them before all others, pickled ones too."""
    config = CONFIG | {"transformers_weights": "adapter_model.bin"}
    (checkpoint / "config.json").write_text(json.dumps(config), encoding="utf-8")
    assert "names a weight file of its own (transformers_weights)" in refusal(checkpoint)


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
    (checkpoint / "model.safetensors").unlink()
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


def test_read_config(checkpoint: Path) -> None:
    assert read_config(checkpoint) == CONFIG

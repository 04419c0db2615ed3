"""Adapters are checked at the door: which one, what is wrong with it, what is allowed."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from numpy import zeros
from safetensors.numpy import load_file, save_file

from autotune.config import WorkloadFile
from autotune.demo.adapters import projections, write_adapters
from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.traffic import Traffic
from autotune.workload.adapters import WEIGHTS, read_adapters, refuse_adapters
from autotune.workload.text import build_workload


@pytest.fixture
def model(tiny_model: Path) -> ModelRef:
    return ModelRef(path=str(tiny_model), name="m", task="causal-lm", fingerprint="0" * 64)


@pytest.fixture
def folders(tiny_model: Path, tmp_path: Path) -> list[Path]:
    return write_adapters(tiny_model, tmp_path, 2)


def changed(**keys: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | keys))

    return change


def test_adapters_are_named_and_hashed(model: ModelRef, folders: list[Path]) -> None:
    one, other = read_adapters([str(f) for f in folders], model)
    assert (one.name, other.name) == ("adapter_0", "adapter_1")
    assert one.identity != other.identity
    changed(lora_alpha=1)(folders[0])
    assert read_adapters([str(folders[0])], model)[0].identity != one.identity
    assert read_adapters([], model) == ()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: (f / "adapter_config.json").unlink(), "has no adapter_config.json; expected"),
        (lambda f: (f / "adapter_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "adapter_config.json").write_text("[]"), "must hold a JSON object"),
        (changed(peft_type="IA3"), 'peft_type is "IA3"; only plain LoRA adapters are'),
        (changed(use_dora=True), "use_dora is true; only plain LoRA"),
        (changed(bias="all"), 'bias is "all"; only plain LoRA .* "none"'),
        (changed(modules_to_save=["lm_head"]), "modules_to_save is"),
        (changed(init_lora_weights="pissa"), 'init_lora_weights is "pissa"'),
        (changed(alora_invocation_tokens=[3]), "alora_invocation_tokens is"),
        (changed(of_a_later_peft={"a": 1}), "of_a_later_peft is"),
        (lambda f: save_file({"x": zeros(1)}, f / WEIGHTS), "holds no matrices of a LoRA adapter"),
        (lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (
            lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
            "has only adapter_model.bin, which can run code when loaded",
        ),
        (lambda f: (f / "adapter_model.safetensors").write_bytes(b"x"), "broken or cut short"),
    ],
)
def test_a_wrong_adapter_is_refused(
    model: ModelRef, folders: list[Path], change: Callable[[Path], object], words: str
) -> None:
    change(folders[1])
    with pytest.raises(InputError, match=words):
        read_adapters([str(folder) for folder in folders], model)


def test_one_for_another_model_is_refused(
    model: ModelRef, folders: list[Path], tmp_path: Path
) -> None:
    saved = folders[0] / "adapter_model.safetensors"
    wider = {
        n: w.repeat(2, axis=-1) if ".lora_A." in n else w for n, w in load_file(saved).items()
    }
    save_file(wider, saved)
    with pytest.raises(InputError, match=r"is for another model: it changes model\.layers\.0"):
        read_adapters([str(folders[0])], model)


def test_the_same_one_twice_is_refused(model: ModelRef, folders: list[Path]) -> None:
    with pytest.raises(InputError, match="adapter_0 is given twice; leave one out"):
        read_adapters([str(folders[0]), str(folders[1]), f"{folders[1]}/../adapter_0"], model)


def test_peft_must_be_there(
    model: ModelRef, folders: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'autotune\[adapters\]'"):
        read_adapters([str(folders[0])], model)


def workload_of(folders: list[Path], **more: Any) -> WorkloadFile:
    traffic = Traffic(requests=4, adapters=tuple(map(str, folders)))
    return WorkloadFile(
        prompt_tokens=12, new_tokens=4, evaluation_positions=64, calibration_sequences=2,
        evaluation_window_tokens=32, traffic=traffic, **more,
    )  # fmt: skip


def test_accuracy_is_that_of_these_adapters(model: ModelRef, folders: list[Path]) -> None:
    both = build_workload(workload_of(folders), model, seed=0)
    turned = build_workload(workload_of(folders[::-1]), model, seed=0)
    none = build_workload(workload_of([]), model, seed=0)
    keys = {both.evaluation_key, turned.evaluation_key, none.evaluation_key}
    assert len(keys) == 3
    assert all(len(key) < 255 for key in keys), "as long as the database's column"
    with pytest.raises(InputError, match="one model, and the study's requests are for LoRA"):
        refuse_adapters(both, "an export holds one model, and")
    refuse_adapters(none, "never")


def test_each_adapter_has_its_turn(model: ModelRef, folders: list[Path]) -> None:
    given = workload_of(folders)
    few = given.model_copy(update={"evaluation_positions": 16})
    with pytest.raises(InputError, match="1 windows of 32 tokens for 2 adapters; raise"):
        build_workload(few, model, seed=0)
    traffic = given.traffic and given.traffic.model_copy(update={"repeat_ratio": 0.7})
    with pytest.raises(InputError, match="1 different ones for 2 adapters; raise it"):
        build_workload(given.model_copy(update={"traffic": traffic}), model, seed=0)


def test_task_files_are_for_the_model_alone(model: ModelRef, folders: list[Path]) -> None:
    given = workload_of(folders, task_files=("some.yaml",))
    with pytest.raises(InputError, match="answered by the model itself"):
        build_workload(given, model, seed=0)


def test_none_are_made_for_a_model_with_other_projections(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1))
    model.save_pretrained(tmp_path / "model")
    assert projections(tmp_path / "model") == {}
    with pytest.raises(InputError, match="has no q_proj or v_proj to make adapters for"):
        write_adapters(tmp_path / "model", tmp_path / "adapters", 1)

"""Finds the model on disk, says what it is, and refuses a broken one before any work starts."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from autotune.config import TASKS
from autotune.errors import InputError
from autotune.messages import ModelRef

_TASK_OF_SUFFIX = {
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    "ForSequenceClassification": "sequence-classification",
    "Model": "feature-extraction",
}
_WEIGHTS = ("*.safetensors",)
_PICKLES = ("pytorch_model*.bin",)
_SMALL_FILES = ("config.json", "generation_config.json", "tokenizer*", "*.model", "vocab*")
_HASHED_BYTES = 1 << 20


def resolve(model: str, *, task: str = "auto", trust_remote_code: bool = False) -> ModelRef:
    """Finds a model and checks its files.

    Args:
        model: A checkpoint directory or a hub id.
        task: What it is to do; ``auto`` reads it from the configuration.
        trust_remote_code: Whether the repository's own Python may run.

    Raises:
        InputError: There is no such model, or its files are missing or broken.
    """
    directory = _directory(model)
    config = read_config(directory)
    _check_weights(directory)
    return ModelRef(
        path=str(directory.resolve()),
        name=model,
        task=_task(config, directory) if task == "auto" else task,
        fingerprint=fingerprint(directory),
        trust_remote_code=trust_remote_code,
    )


def _directory(model: str) -> Path:
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    is_hub_id = model.count("/") == 1 and model[0] not in "./~" and model[-1] != "/"
    if path.exists() or not is_hub_id:
        what = "is a file" if path.is_file() else "does not exist"
        raise InputError(
            f"model {model!r} {what}; expected a checkpoint directory with config.json, a hub id "
            "such as org/name, or 'demo'"
        )
    return _download(model)


def _download(model: str) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(
            model,
            allow_patterns=["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"],
        )
    except HFValidationError as error:
        raise InputError(f"{model!r} is neither a directory nor a hub id: {error}") from error
    except LocalEntryNotFoundError as error:
        raise InputError(
            f"model {model!r} is no directory here, is not in the hub cache, and the hub cannot "
            "be reached (offline?); give a checkpoint directory, or download it while online"
        ) from error
    except (HfHubHTTPError, OSError) as error:
        raise InputError(f"model {model!r} could not be fetched from the hub: {error}") from error
    return Path(found)


def read_config(directory: Path) -> dict[str, Any]:
    """The parsed ``config.json`` of a checkpoint directory.

    Raises:
        InputError: It is missing or no JSON object.
    """
    path = directory / "config.json"
    if not path.is_file():
        raise InputError(
            f"{directory} has no config.json, so it is no transformers checkpoint; "
            "save one with model.save_pretrained(directory)"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} must hold a JSON object")
    return config


def _task(config: dict[str, Any], directory: Path) -> str:
    architectures = config.get("architectures") or ["Model"]
    for suffix, task in _TASK_OF_SUFFIX.items():
        if str(architectures[0]).endswith(suffix):
            return task
    raise InputError(
        f"cannot tell from {directory / 'config.json'} what {architectures[0]} does; name it with "
        f"--task; allowed: {', '.join(TASKS)}"
    )


def _check_weights(directory: Path) -> None:
    files = [f for pattern in _WEIGHTS for f in sorted(directory.glob(pattern))]
    if not files:
        pickled = any(next(directory.glob(pattern), None) for pattern in _PICKLES)
        hint = (
            "only pickled weights, which can run code when loaded; convert them with "
            "model.save_pretrained(directory)"
            if pickled
            else "no *.safetensors file"
        )
        raise InputError(f"{directory} holds {hint}")
    for file in files:
        _check_safetensors(file)
    _check_index(directory)


def _check_safetensors(file: Path) -> None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            empty = not tensors.keys()
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file} is broken or cut short ({error}); copy or download it again"
        ) from error
    if empty:
        raise InputError(f"{file} holds no tensors; copy or download it again")


def _check_index(directory: Path) -> None:
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{index} is broken: {error}") from error
    absent = sorted(s for s in shards if not (directory / s).is_file())
    if absent:
        raise InputError(f"{directory} lacks the weight files {', '.join(absent)}")


def fingerprint(directory: Path) -> str:
    """SHA-256 over names and contents of the small files, and over name, size, first and last
    MiB of each weight file (a whole read of large weights would take minutes)."""
    digest = hashlib.sha256()
    for file in sorted({f for p in (*_SMALL_FILES, *_WEIGHTS) for f in directory.glob(p)}):
        digest.update(f"{file.name}:{file.stat().st_size}".encode())
        digest.update(_ends(file) if file.suffix == ".safetensors" else file.read_bytes())
    return digest.hexdigest()


def _ends(file: Path) -> bytes:
    with file.open("rb") as stream:
        head = stream.read(_HASHED_BYTES)
        stream.seek(max(0, os.path.getsize(file) - _HASHED_BYTES))
        return head + stream.read(_HASHED_BYTES)

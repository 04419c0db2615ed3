"""Finds the model on disk, says what it is, and refuses a broken one before any work starts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from autotune.config import TASKS
from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.trust import DATA_ONLY, Trust

_TASK_OF_SUFFIX = {
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    "ForSequenceClassification": "sequence-classification",
    "Model": "feature-extraction",
}
_WEIGHTS, _PICKLED = "model.safetensors", "pytorch_model.bin"
_HASHED = (".json", ".txt", ".model", ".jinja", ".py")
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")
"""What model configurations call the number of positions."""
_FETCHED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.py"]
_FETCHED_PICKLES = "pytorch_model*.bin"
_PIECES, _PIECE_BYTES = 64, 1 << 20


def resolve(model: str, *, task: str = "auto", trust: Trust = DATA_ONLY) -> ModelRef:
    """Finds a model and checks its files.

    Args:
        model: A checkpoint directory or a hub id.
        task: What it is to do; ``auto`` reads it from the configuration.
        trust: What its files may do.

    Raises:
        InputError: There is no such model, or its files are missing or broken.
    """
    directory = _directory(model, trust)
    config = read_config(directory)
    check_weights(directory, trust)
    return ModelRef(
        path=str(directory.resolve()),
        name=model,
        task=_task(config, directory) if task == "auto" else task,
        fingerprint=fingerprint(directory),
        trust=trust,
    )


def _directory(model: str, trust: Trust) -> Path:
    path = _path(model)
    if path.is_dir():
        return path
    is_hub_id = model.count("/") == 1 and model[0] not in "./~" and model[-1] != "/"
    if path.exists() or not is_hub_id:
        what = "is a file" if path.is_file() else "does not exist"
        raise InputError(
            f"model {model!r} {what}; expected a checkpoint directory with config.json, a hub id "
            "such as org/name, 'demo' or 'demo-tiny'"
        )
    found = _download(model, _FETCHED)
    if trust.allow_pickle and not _holds(found, _WEIGHTS):
        return _download(model, [*_FETCHED, _FETCHED_PICKLES])
    return found


def _path(model: str) -> Path:
    try:
        path = Path(model).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # a name too long; a user that does not exist
        raise InputError(f"model {model[:80]!r} is no path: {error}") from error
    return path


def _download(model: str, patterns: list[str]) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        found = huggingface_hub.snapshot_download(model, allow_patterns=patterns)
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
    return read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a file.

    Raises:
        InputError: It cannot be read, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} must hold a JSON object")
    return found


def end_tokens(directory: Path) -> frozenset[int]:
    """Ids of the tokens that end an answer, of ``generation_config.json`` or ``config.json``.

    Raises:
        InputError: The configuration is missing or broken.
    """
    path = directory / "generation_config.json"
    given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found = given.get("eos_token_id", read_config(directory).get("eos_token_id"))
    return frozenset(found if isinstance(found, list) else [] if found is None else [found])


def max_positions(directory: Path) -> int | None:
    """How many tokens a model can tell apart by their place; None where it does not say.

    Raises:
        InputError: The configuration is missing or broken.
    """
    config = read_config(directory)
    return next((v for k in _POSITIONS if type(v := config.get(k)) is int and v > 1), None)


def _task(config: dict[str, Any], directory: Path) -> str:
    given = config.get("architectures") or ["Model"]
    architecture = str(given[0]) if isinstance(given, list) else str(given)
    for suffix, task in _TASK_OF_SUFFIX.items():
        if architecture.endswith(suffix):
            return task
    raise InputError(
        f"cannot tell from {directory / 'config.json'} what {architecture} does; name it with "
        f"--task; allowed: {', '.join(TASKS)}"
    )


def check_weights(directory: Path, trust: Trust) -> None:
    """Makes sure that the files which would be loaded are whole, and of a kind that may be.

    Args:
        directory: A checkpoint.
        trust: What its files may do.

    Raises:
        InputError: They are not; says which, and what to do.
    """
    if "transformers_weights" in read_config(directory):
        raise InputError(
            f"{directory / 'config.json'} names a weight file of its own (transformers_weights); "
            f"take the key out and call the file {_WEIGHTS}"
        )
    files = _weight_files(directory)
    if not files:
        raise InputError(f"{directory} holds no {_WEIGHTS}, and no index of its parts")
    if _holds(directory, _WEIGHTS):
        for file in files:
            _check_safetensors(file)
    elif not trust.allow_pickle:
        raise InputError(
            f"{directory} holds only pickled weights, which can run code when loaded; convert "
            "them with model.save_pretrained(directory), or, if you trust who made them, give "
            "--allow-pickle"
        )


def _weight_files(directory: Path) -> list[Path]:
    """Those that transformers loads: pickled ones only where there are no others."""
    for name in (_WEIGHTS, _PICKLED):
        if _is_there(directory / name):
            return [directory / name]
        if _index(directory, name).is_file():
            return _parts(_index(directory, name))
    return []


def _holds(directory: Path, name: str) -> bool:
    """Whether the weights of that name are there, whole or in parts."""
    return _is_there(directory / name) or _index(directory, name).is_file()


def _index(directory: Path, name: str) -> Path:
    return directory / f"{name}.index.json"


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()  # one that points at nothing is broken


def _check_safetensors(file: Path) -> None:
    if not _shapes(file):
        raise InputError(f"{file} holds no tensors; copy or download it again")


def weight_shapes(directory: Path, name: str = _WEIGHTS) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors in a directory's safetensors files, by name; none where there are
    only pickled ones.

    Args:
        directory: A checkpoint, or an adapter.
        name: Of the file, if it is whole.

    Raises:
        InputError: A file is broken.
    """
    files = [directory / name] if _is_there(directory / name) else _weight_files(directory)
    kept = [file for file in files if file.suffix == ".safetensors"]
    return {key: shape for file in kept for key, shape in _shapes(file).items()}


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as tensors:
            names = tensors.keys()
            return {name: tuple(tensors.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file} is broken or cut short ({error}); copy or download it again"
        ) from error


def _parts(index: Path) -> list[Path]:
    """The files that an index names, of its own kind and in its own directory."""
    kind = Path(index.name.removesuffix(".index.json")).suffix
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        absent = [name for name in names if not (index.parent / name).is_file()]
        foreign = [name for name in names if Path(name).name != name or Path(name).suffix != kind]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(f"{index} is broken: {error}") from error
    if foreign:
        raise InputError(
            f"{index} names {', '.join(foreign)}; allowed: names of *{kind} files beside it"
        )
    if absent:
        raise InputError(f"{index.parent} lacks the weight files {', '.join(absent)}")
    return [index.parent / name for name in names]


def weights_file_bytes(directory: Path) -> int:
    """Bytes of all weight files."""
    return sum(file.stat().st_size for file in _weight_files(directory))


def fingerprint(directory: Path) -> str:
    """SHA-256 over everything that the model's outputs depend on.

    Small files (configuration, tokenizer, code) are read whole, weight files up to 64 MiB too; of
    larger ones 64 pieces of 1 MiB, evenly spread, with name and size: reading hundreds of
    gigabytes would take minutes.
    """
    digest = hashlib.sha256()
    weights = set(_weight_files(directory))
    small = {f for f in directory.iterdir() if f.suffix in _HASHED and f.is_file()}
    for file in sorted(weights | small):
        digest.update(f"{file.name}:{file.stat().st_size}".encode())
        if file in weights:
            _add_pieces(digest, file)
        else:
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _add_pieces(digest: hashlib._Hash, file: Path) -> None:
    size = file.stat().st_size
    last = max(0, size - _PIECE_BYTES)
    with file.open("rb") as stream:
        if size <= _PIECES * _PIECE_BYTES:
            digest.update(stream.read())
            return
        for i in range(_PIECES):
            stream.seek(last * i // (_PIECES - 1))
            digest.update(stream.read(_PIECE_BYTES))

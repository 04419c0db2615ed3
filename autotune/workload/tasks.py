"""The task files that a study names: what they are, checked before any work starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from autotune.errors import InputError
from autotune.messages import ModelRef, TaskFile, TaskKind
from autotune.workload.labelled import class_indices, class_names, read_labelled
from autotune.workload.lm_eval_task import lm_eval_version, read_lm_eval_task
from autotune.workload.model import read_config

_KINDS: dict[str, TaskKind] = {
    ".jsonl": "labelled",
    ".csv": "labelled",
    ".yaml": "lm-eval",
    ".yml": "lm-eval",
}
_MODELS: dict[TaskKind, str] = {"labelled": "sequence-classification", "lm-eval": "causal-lm"}
_WORDS: dict[TaskKind, str] = {
    "labelled": "labelled texts (.jsonl, .csv)",
    "lm-eval": "a task of lm-eval (.yaml)",
}


def read_tasks(paths: Sequence[str]) -> tuple[TaskFile, ...]:
    """Reads task files; the model need not be known yet.

    Args:
        paths: ``.jsonl`` or ``.csv`` with labelled texts, ``.yaml`` of lm-eval.

    Raises:
        InputError: One is missing or wrong, two have the same name, or lm-eval is not installed.
    """
    tasks = tuple(_read(Path(path).expanduser().resolve()) for path in paths)
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two task files have the name {twice[0]!r}; rename one of them")
    return tasks


def _read(path: Path) -> TaskFile:
    kind = _KINDS.get(path.suffix)
    if kind is None:
        raise InputError(
            f"cannot tell what the task file {path} is; allowed: {', '.join(_WORDS.values())}"
        )
    if kind == "labelled":
        read_labelled(path)
        return TaskFile(name=path.stem, path=str(path), kind=kind, identity=_hash([path]))
    task = read_lm_eval_task(path)
    version = lm_eval_version()
    if version is None:
        raise InputError(
            f"the task file {path} needs the package lm_eval, which is not installed: "
            "pip install 'autotune[lm-eval]'"
        )
    return TaskFile(
        name=task.name, path=str(path), kind=kind, identity=_hash(task.files, f"lm_eval {version}")
    )


def _hash(files: Iterable[Path], beside: str = "") -> str:
    digest = hashlib.sha256(beside.encode())
    for file in files:
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def check_tasks(tasks: Sequence[TaskFile], model: ModelRef) -> None:
    """Checks task files against the model.

    Raises:
        InputError: A task is for another kind of model, or names a class that it does not have.
    """
    for task in tasks:
        if model.task != _MODELS[task.kind]:
            fitting = [_WORDS[kind] for kind, wanted in _MODELS.items() if wanted == model.task]
            hint = f"give {fitting[0]}" if fitting else "task files are of no use for it"
            raise InputError(
                f"the task file {task.path} holds {_WORDS[task.kind]}, for "
                f"{_MODELS[task.kind]} models; this is a {model.task} model: {hint}"
            )
        if task.kind == "labelled":
            path = Path(task.path)
            names = class_names(read_config(Path(model.path)))
            class_indices(path, read_labelled(path), names)

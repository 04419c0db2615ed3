"""Task files of lm-eval (YAML), as far as they can be checked without importing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from autotune.errors import InputError

MEASURES = ("acc", "exact_match", "acc_norm")
"""Measures that call an item right or wrong; the first that a task has is taken."""

_MEASURES_OF_TYPE = {
    "multiple_choice": ("acc", "acc_norm"),
    "loglikelihood": ("perplexity", "acc"),
    "generate_until": ("exact_match",),
}
"""Output type → what lm-eval measures where the task names nothing."""

_LOADERS = ("json", "csv", "parquet", "text")


@dataclass(frozen=True)
class LmEvalTask:
    """What a task file says."""

    name: str
    files: tuple[Path, ...]
    """All files that its result depends on."""


class _Loader(yaml.SafeLoader):
    """Reads a function's name as words: nothing of a task file is run by the coordinator."""


_Loader.add_constructor("!function", lambda loader, node: str(node.value))


def lm_eval_version() -> str | None:
    """The installed version; None without one."""
    try:
        return metadata.version("lm_eval")
    except metadata.PackageNotFoundError:
        return None


def read_lm_eval_task(path: Path) -> LmEvalTask:
    """Reads one task file.

    Raises:
        InputError: It cannot be read, is a group, has no right and wrong, or needs data from
            elsewhere than local files.
    """
    read: list[Path] = []
    config = _config(path, read)
    name = config.get("task")
    if not isinstance(name, str) or "group" in config:
        raise InputError(
            f"the task file {path} names no single task (task: {name!r}); give the file of each "
            "task of a group"
        )
    _check_measure(path, config)
    code = sorted(path.parent.glob("*.py"))
    return LmEvalTask(name, (*read, *_data_files(path, config), *code))


def _config(path: Path, read: list[Path]) -> dict[str, Any]:
    """The keys of a task file and of those that it includes; its own win."""
    if path in read:
        raise InputError(f"the task file {path} includes itself")
    read.append(path)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the task file {path} as UTF-8: {error}") from error
    except yaml.YAMLError as error:
        raise InputError(f"the task file {path} is not valid YAML: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"the task file {path} must hold keys and values, such as 'task: name'")
    included: dict[str, Any] = {}
    for other in _listed(config.pop("include", None)):
        included |= _config((path.parent / other).resolve(), read)
    return included | config


def _check_measure(path: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("output_type", "generate_until")
    if kind not in _MEASURES_OF_TYPE:
        raise InputError(
            f"the task file {path} has the output_type {kind!r}, in which no item is right or "
            f"wrong; allowed: {', '.join(_MEASURES_OF_TYPE)}"
        )
    listed = config.get("metric_list")
    named = [m.get("metric") for m in listed or () if isinstance(m, dict)]
    given = named if listed else [*_MEASURES_OF_TYPE[kind]]
    if not set(given) & set(MEASURES):
        raise InputError(
            f"the task file {path} measures {', '.join(map(str, given))}; one of these is needed, "
            f"which call an item right or wrong: {', '.join(MEASURES)}"
        )


def _data_files(path: Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """The local files of the data set; paths are relative to the task file."""
    loader, options = config.get("dataset_path"), config.get("dataset_kwargs")
    named = options.get("data_files") if isinstance(options, dict) else None
    if loader not in _LOADERS or not named:
        raise InputError(
            f"the task file {path} takes its data from {loader!r}; bench processes are offline: "
            f"save the data and give dataset_path ({', '.join(_LOADERS)}) with "
            "dataset_kwargs: {data_files: {test: FILE}}"
        )
    for part in named.values() if isinstance(named, dict) else [named]:
        for name in _listed(part):
            file = (path.parent / name).resolve()
            if not file.is_file():
                raise InputError(f"the task file {path} needs the data file {file}: there is none")
            yield file


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(part) for part in value] if isinstance(value, list) else [str(value)]

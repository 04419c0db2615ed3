"""Find the fastest, smallest, greenest way to serve a language model by measuring it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autotune.errors import AutotuneError, InputError
from autotune.params import Choice, Float, Int, Stage
from autotune.plugin import Context, Plugin, Requires, Unsupported

if TYPE_CHECKING:
    from autotune.dispatch.server import Server
    from autotune.export.loaded import LoadedModel
    from autotune.notebook import Study

__all__ = [
    "AutotuneError",
    "Choice",
    "Context",
    "Float",
    "InputError",
    "Int",
    "Plugin",
    "Requires",
    "Stage",
    "Unsupported",
    "load",
    "open_study",
    "search",
]


def load(path: str | Path, model: str | None = None) -> Server | LoadedModel:
    """Serves an exported model, or a model with several points of a study's front, each where it
    was measured best.

    Args:
        path: The directory that ``autotune export`` has written; or the ``dispatch.json`` that
            ``autotune dispatch`` has written, the ``front.json`` beside it, or their folder.
        model: Checkpoint directory or hub id, for a dispatch table; by default where it was when
            it was measured.

    Returns:
        A server, to be closed: ``with autotune.load("studies/demo") as server:
        server.generate(["Once upon"], max_new_tokens=32)``. One of an exported model also has
        ``outputs``, ``logits``, ``recipe`` and ``metrics``.

    Raises:
        InputError: There is neither, files are damaged, or the table was measured with another
            model.
        AutotuneError: A point cannot be prepared.
    """
    from autotune.export.files import is_export

    if is_export(Path(path)):
        from autotune.export.loaded import load as load_export

        if model is not None:
            raise InputError(f"{path} is an exported model and needs no other: leave model out")
        return load_export(Path(path))
    from autotune.dispatch.server import load as load_server

    return load_server(Path(path), model)


def open_study(name: str, *, output: str | Path = "studies", database: str | None = None) -> Study:
    """Opens a study that was searched, or is being searched, to look at it.

    Args:
        name: Of the study.
        output: Folder of the studies.
        database: URL; by default ``AUTOTUNE_DATABASE_URL``, else the file in the folder.

    Raises:
        InputError: There is no such study or database.
    """
    from autotune.notebook import open_study as open_

    return open_(name, output=output, database=database)


def __getattr__(name: str) -> Any:
    """``autotune.search`` is loaded when it is asked for: it is a package that can be called."""
    if name == "search":
        return importlib.import_module("autotune.search")
    raise AttributeError(f"module 'autotune' has no attribute {name!r}")

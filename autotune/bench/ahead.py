"""What every model needs, imported before anybody asks for it."""

from __future__ import annotations

import functools
import importlib

_LIBRARIES = (
    "autotune.bench.session",
    "scipy.special",
    "transformers.generation.utils",
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
)
"""Plugins and what they need are left to the process that uses them."""


@functools.cache
def import_libraries() -> Exception | None:
    """Tries once in a process's life, and in that of the one it was forked from.

    Returns:
        What went wrong: the failure of the trial that needs them, to be raised then.
    """
    try:
        for library in _LIBRARIES:
            importlib.import_module(library)
    except Exception as error:
        return error
    return None

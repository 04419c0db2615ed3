"""What every model needs, imported before anybody asks for it."""

from __future__ import annotations

import functools
import gc
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

    Python's search for garbage then leaves out what the libraries have made: it would take a
    quarter of a second each time, and more after a fork, where it copies what it looks at.

    Returns:
        What went wrong: the failure of the trial that needs them, to be raised then.
    """
    try:
        for library in _LIBRARIES:
            importlib.import_module(library)
    except Exception as error:
        return error
    gc.collect()
    gc.freeze()
    return None

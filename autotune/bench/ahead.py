"""What every model needs, imported before anybody asks for it."""

from __future__ import annotations

import importlib
import traceback

_LIBRARIES = (
    "autotune.bench.session",
    "scipy.stats",
    "transformers.generation.utils",
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
)
"""Plugins and what they need are left to the process that uses them."""


def import_libraries() -> None:
    """An import that fails is the failure of the trial that needs it, and reported then."""
    try:
        for library in _LIBRARIES:
            importlib.import_module(library)
    except Exception:
        traceback.print_exc()

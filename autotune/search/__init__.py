"""Chooses recipes: the ask-measure-tell loop, the pool, samplers, constraints, budget.

The package can be called, too: ``autotune.search(model="demo")`` searches, see
``autotune.notebook.search``. A function of that name beside it would be overwritten as soon as
one of its modules is imported.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _Search(ModuleType):
    def __call__(self, *arguments: Any, **keys: Any) -> Any:
        """Searches; see ``autotune.notebook.search``."""
        # By its name: this room stands below that one.
        return importlib.import_module("autotune.notebook").search(*arguments, **keys)


sys.modules[__name__].__class__ = _Search

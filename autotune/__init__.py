"""Find the fastest, smallest, greenest way to serve a language model by measuring it."""

from autotune.errors import AutotuneError, InputError
from autotune.params import Choice, Float, Int, Stage
from autotune.plugin import Context, Plugin, Requires, Unsupported

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
]

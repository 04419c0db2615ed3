"""The plugins, values and recipes that a study names, checked."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.config import StudyFile
from autotune.errors import InputError, unknown_name
from autotune.plugin import Plugin
from autotune.recipe import Recipe
from autotune.registry import Registry, installed
from autotune.space import variants


def checked_plugins(study: StudyFile) -> Registry:
    """The plugins of a study, before anything takes time.

    Raises:
        InputError: It names an unknown plugin, param or value, or a recipe that cannot be.
    """
    chosen = installed().select(study.plugins)
    for name, values in (study.plugins or {}).items():
        next(variants(chosen.get(name), values))
    first_recipes(study, chosen.plugins)
    return chosen


def first_recipes(study: StudyFile, plugins: Mapping[str, Plugin]) -> tuple[Recipe, ...]:
    """The recipes that a study names to be tried first, each once, without the baseline.

    Args:
        study: The study.
        plugins: Its plugins by name.

    Raises:
        InputError: One of them has a plugin that the study leaves out, or cannot be.
    """
    found: dict[Recipe, None] = {}
    for place, given in enumerate(study.try_first, 1):
        try:
            if other := next((name for name in given if name not in plugins), None):
                raise InputError(unknown_name("plugin of this study", other, plugins))
            recipe = Recipe.of(given, plugins)
        except InputError as error:
            raise InputError(f"try_first, recipe {place}: {error}") from error
        if not recipe.is_baseline:  # it is before all others anyway
            found[recipe] = None
    return tuple(found)

"""What a study may try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from autotune.config import StudyFile
from autotune.device import Device
from autotune.errors import InputError
from autotune.messages import ModelRef
from autotune.recipe import Recipe
from autotune.registry import Registry
from autotune.space import Pool, Restrictions, build_pool, missing_package
from autotune.workload.model import read_config, weights_file_bytes


class PoolMaker:
    """Makes pools of a study's plugins for a model on a device."""

    def __init__(
        self, study: StudyFile, chosen: Registry, model: ModelRef, device: Device
    ) -> None:
        """
        Args:
            study: The study.
            chosen: Its plugins.
            model: The model.
            device: What the trials run on.
        """
        self._study = study
        self._chosen = chosen
        self._model = model
        self._device = device

    def search(self, first: Sequence[Recipe] = ()) -> Pool:
        """Everything feasible of the study's values.

        Args:
            first: Recipes that are tried first; what of them is not among the study's values, or
                was left out of a sample, comes last in the pool.

        Raises:
            InputError: Nothing but the baseline can work, or one of ``first`` cannot.
        """
        pool = self._build(self._chosen, self._study.plugins or {})
        if len(pool.recipes) + len(first) < 2:
            raise InputError(
                "there is nothing to search: no recipe but the baseline can work here "
                f"({_reasons(pool)}); name other plugins or values"
            )
        pool = with_recipes(pool, first)
        for recipe in pool.beside:
            self.one(recipe, "try_first: ")
        return pool

    def one(self, recipe: Recipe, where: str = "") -> Pool:
        """The baseline and one recipe.

        Args:
            recipe: The recipe.
            where: It was named, for the error.

        Raises:
            InputError: It cannot work.
        """
        on = recipe.to_dict()
        values = {name: {k: (v,) for k, v in params.items()} for name, params in on.items()}
        pool = self._build(self._chosen.select(values), values)
        if recipe not in pool.recipes:
            why = _reasons(pool) or "its weights alone would not fit into the device's memory"
            raise InputError(f"{where}{recipe} cannot work here: {why}")
        return pool

    def _build(self, chosen: Registry, values: Restrictions) -> Pool:
        model = Path(self._model.path)
        return build_pool(
            chosen,
            values,
            task=self._model.task,
            model_config=read_config(model),
            device=self._device,
            traits=self._study.workload.traits,
            weights_bytes=weights_file_bytes(model),
            seed=self._study.seed,
            allow_power_changes=self._study.allow_power_changes,
        )


def with_recipes(pool: Pool, first: Sequence[Recipe]) -> Pool:
    """The pool and what it lacks of a study's own recipes."""
    beside = tuple(recipe for recipe in first if recipe not in pool.recipes)
    return replace(pool, recipes=pool.recipes + beside, beside=beside)


def pool_notes(pool: Pool, chosen: Registry) -> tuple[str, ...]:
    """What a person should know of a pool before a search begins.

    Args:
        pool: The pool.
        chosen: The study's plugins.
    """
    # Other refusals lie in the model or the device; a package can be installed.
    notes = tuple(
        f"without the plugin {refusal.plugin}, which {refusal.reason}"
        for refusal in pool.refusals
        if refusal.reason == missing_package(chosen.get(refusal.plugin))
    )
    searched = len(pool.recipes) - len(pool.beside)
    if pool.combinations <= searched:
        return notes
    return (
        *notes,
        f"{pool.combinations:,} combinations; the search chooses among {searched:,} of "
        "them: those that fit and do not conflict, at most a random sample of 100,000",
    )


def _reasons(pool: Pool) -> str:
    return "; ".join(f"{r.plugin}: {r.reason}" for r in pool.refusals[:5])

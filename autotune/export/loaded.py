"""An exported directory as a model that is ready: in a bench process, as it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autotune import registry
from autotune.config import StudyFile
from autotune.device import detect
from autotune.dispatch.request import PendingRequest
from autotune.dispatch.server import Server, warn_elsewhere
from autotune.dispatch.table import Cell, DispatchTable, Point
from autotune.environment import describe_environment
from autotune.errors import AutotuneError, InputError
from autotune.export.files import ExportFile, read_export, read_numbers
from autotune.export.reference import Outputs, ask_outputs
from autotune.messages import Metrics, RecipeDict, TrialSpec
from autotune.recipe import Recipe
from autotune.search.plan import Plan
from autotune.space import Pool
from autotune.trust import DATA_ONLY
from autotune.workload.model import read_config
from autotune.workload.paths import cache_directory


@dataclass(eq=False)
class _WantsOutputs(PendingRequest):
    """A sequence whose outputs are asked for: it runs by itself."""

    outputs: Future[Outputs] = field(default_factory=Future)

    @property
    def shape(self) -> tuple[int, int]:
        """Like no other."""
        return -id(self), 0


class LoadedModel(Server):
    """One exported model with the run settings of its recipe; a context manager, to be closed.

    As ``autotune.dispatch``'s server, but with one point: whatever the request, the same recipe
    answers it.
    """

    def __init__(self, folder: Path, found: ExportFile, plan: Plan, spec: TrialSpec) -> None:
        """
        Args:
            folder: The directory.
            found: Its ``export.json``.
            plan: What serving needs to know of model and device.
            spec: The trial, as this directory's files run it.

        Raises:
            AutotuneError: It cannot be prepared, or runs otherwise than it was measured.
        """
        self.folder = folder
        self.recipe: RecipeDict = found.recipe
        """What runs."""
        self.metrics: Metrics = read_numbers(folder).metrics
        """What the study has measured of it."""
        self.task = spec.model.task
        """``causal-lm``, ``sequence-classification`` or ``feature-extraction``."""
        self._trial = spec
        super().__init__(_table(found, self.metrics), plan)

    def outputs(
        self, inputs: Sequence[str] | Sequence[Sequence[int]]
    ) -> list[NDArray[np.float32]]:
        """What the model computes, each sequence by itself.

        Args:
            inputs: Texts, or token ids.

        Returns:
            For each of them, in float32: logits ``[tokens, vocabulary]`` (causal-lm) or
            ``[classes]`` (sequence-classification), or an embedding ``[hidden]``.

        Raises:
            InputError: There is none, one is empty or holds tokens that the model does not have,
                or the engine tells no outputs.
            AutotuneError: The bench process failed.
        """
        if isinstance(inputs, str):
            raise InputError("give a list of texts, or of token ids")
        items = [_WantsOutputs(ids, 0) for ids in self._token_ids(inputs)]
        self._enqueue(items)
        found = [item.outputs.result() for item in items]
        if any(one.is_tokens for one in found):
            raise InputError("the engine of this recipe tells tokens, and no outputs")
        return [one.values[0] for one in found]

    def logits(self, token_ids: Sequence[Sequence[int]]) -> list[NDArray[np.float32]]:
        """As ``outputs``, for models that have logits.

        Raises:
            InputError: The model has embeddings.
        """
        if self.task == "feature-extraction":
            raise InputError("a feature-extraction model has embeddings: ask for its outputs")
        return self.outputs(token_ids)

    def _run(self, batch: list[Any]) -> None:
        if not isinstance(batch[0], _WantsOutputs):
            super()._run(batch)
            return
        item = batch[0]
        try:
            item.outputs.set_result(self._compute(item.ids))
        except BaseException as error:
            item.outputs.set_exception(error)

    def _compute(self, ids: tuple[int, ...]) -> Outputs:
        spec = self._trial
        sessions = self._session(spec)
        session, _ = sessions.get("candidate", spec)
        try:
            return ask_outputs(session, spec, np.array([ids]))
        except AutotuneError:
            sessions.drop("candidate")  # the next request prepares it anew
            raise

    def _spec(self, point: Point, size: int) -> TrialSpec:
        return self._trial

    def _warn(self, outside: set[str]) -> None:
        """Whatever is asked, there is nothing else to serve it with."""


def load(folder: Path) -> LoadedModel:
    """Loads an exported directory; see ``autotune.load``."""
    found = read_export(folder)
    plan, spec = placed(folder, found)
    warn_elsewhere("the numbers were", found.environment, plan.environment)
    return LoadedModel(folder, found, plan, spec)


def placed(folder: Path, found: ExportFile) -> tuple[Plan, TrialSpec]:
    """An exported directory's trial on this machine.

    Raises:
        InputError: There is no such device, or a plugin is not installed.
    """
    folder, plugins = folder.resolve(), registry.installed()
    if absent := sorted(found.recipe.keys() - plugins.plugins.keys()):
        raise InputError(f"{folder} needs plugins not installed here: {', '.join(absent)}")
    recipe = Recipe.of(found.recipe, plugins.plugins).to_dict()
    kind = found.spec.device.kind
    device = detect(kind)
    cache = cache_directory()
    own = found.placed(folder, cache, cache / "serving")
    # The files beside it are data, whatever the original was.
    model = own.model.model_copy(update={"path": str(folder), "trust": DATA_ONLY})
    # What the file says it has scored is not kept as this machine's.
    own_words = {"recipe": recipe, "known_accuracy": {}}
    spec = own.model_copy(update={"device": device, "model": model, **own_words})
    study = StudyFile.model_validate(
        {"name": own.study, "model": str(folder), "task": model.task, "device": kind}
    )
    plan = Plan(
        study=study.model_copy(update={"measure": own.settings, "seed": own.seed}),
        name=own.study,
        model=model,
        device=device,
        environment=describe_environment(device),
        registry=plugins,
        pool=Pool((), (), 0),
        workload=spec.workload,
        objectives=own.objectives,
        constraints=(),
        notes=(),
        directory=cache / "serving",
        cache=cache,
        model_config=read_config(folder),
    )
    return plan, spec


def _table(found: ExportFile, metrics: Metrics) -> DispatchTable:
    """One point that serves everything."""
    spec = found.spec
    point = Point(name=found.pick, number=spec.number, recipe=found.recipe, accuracy={})
    size = int(found.recipe.get("batch", {}).get("size", 1))
    cell = Cell(
        batch_size=size,
        prompt_tokens=spec.workload.prompt_tokens,
        measured={},
        failed={},
        chosen=point.name,
        ties=(),
    )
    return DispatchTable(
        autotune_version=found.autotune_version,
        created_at=found.created_at,
        study=spec.study,
        keys={},
        model_fingerprint=spec.model.fingerprint,
        environment=found.environment,
        objective="",
        unit="",
        constraints=(),
        new_tokens=spec.workload.new_tokens,
        points=(point,),
        cells=(cell,),
    )

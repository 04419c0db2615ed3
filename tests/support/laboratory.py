"""A laboratory: small plugins, a plan made by hand, a database, numbers by formula."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import optuna

from autotune.config import StudyFile
from autotune.constraints import parse_all
from autotune.environment import describe_environment
from autotune.execute.base import OnProgress
from autotune.execute.inline import InlineExecutor
from autotune.messages import TrialResult, TrialSpec
from autotune.params import Choice, Float, Int, Stage
from autotune.plugin import Plugin
from autotune.registry import Registry
from autotune.search.loop import MAX_ATTEMPTS, Search
from autotune.search.observer import Observer
from autotune.search.plan import Plan
from autotune.search.register import register
from autotune.search.study_pool import with_recipes
from autotune.space import build_pool
from autotune.store.records import StudyRecord, TrialRecord
from autotune.store.store import Store
from autotune.study_plugins import first_recipes
from autotune.testing import fake_device, fake_result, fake_spec

OBJECTIVES = ("output_tokens_per_second", "weights_bytes", "kld_mean_nats")


class Quantize(Plugin):
    """Changes the numbers; has a conditional param."""

    name = "quantize"
    params: ClassVar = {
        "scheme": Choice("none", "int8", "int4", default="none", stage=Stage.MODEL),
        "group": Choice(32, 64, default=32, stage=Stage.MODEL, when={"scheme": "int4"}),
    }


class Prune(Plugin):
    """Changes the numbers along a real axis."""

    name = "prune"
    params: ClassVar = {"ratio": Float(0.0, 0.4, default=0.0, step=0.2, stage=Stage.MODEL)}


class Compile(Plugin):
    """Changes the process."""

    name = "compile"
    params: ClassVar = {"on": Choice(False, True, default=False, stage=Stage.SETUP)}


class Batch(Plugin):
    """Changes the run."""

    name = "batch"
    params: ClassVar = {"size": Int(1, 8, default=1, log=True, stage=Stage.RUN)}


EVERY: dict[str, Plugin] = {p.name: p for p in (Quantize(), Prune(), Compile(), Batch())}
BITS = {"none": 32.0, "int8": 8.0, "int4": 4.0}
KLD = {"none": 0.0, "int8": 0.01, "int4": 0.2}

Run = Callable[[TrialSpec], TrialResult]


def numbers(spec: TrialSpec) -> dict[str, float]:
    """What a recipe would measure: every choice costs something and gains something."""
    quantize, batch = spec.recipe.get("quantize", {}), spec.recipe.get("batch", {})
    ratio = float(spec.recipe.get("prune", {}).get("ratio", 0.0))
    scheme = str(quantize.get("scheme", "none"))
    compiled = 1.5 if "compile" in spec.recipe else 1.0
    keep = 1 - ratio
    return {
        "output_tokens_per_second": 100 * compiled * float(batch.get("size", 1)) ** 0.5 / keep,
        "weights_bytes": 1e6 * BITS[scheme] / 32 * keep,
        "kld_mean_nats": KLD[scheme] * float(quantize.get("group", 32)) / 32 + ratio**2,
    }


class Lab:
    """Everything for a search but a model."""

    def __init__(self, folder: Path, url: str = "") -> None:
        self.folder = folder
        self.file = folder / "autotune.db"
        self.url = url or f"sqlite:///{self.file}"
        self.specs: list[TrialSpec] = []
        self.scored: list[str] = []
        """The output keys whose accuracy was measured, in order."""

    def plan(self, *plugins: str, name: str = "first", **study: Any) -> Plan:
        chosen = Registry(
            {n: EVERY[n] for n in plugins or EVERY}, {n: "fake 1" for n in plugins or EVERY}
        )
        device, spec = fake_device(), fake_spec()
        file = StudyFile.model_validate({"model": "fake", "confirm": {"processes": 0}, **study})
        pool = build_pool(
            chosen,
            file.plugins or {},
            task="causal-lm",
            model_config={},
            device=device,
            seed=file.seed,
        )
        first = first_recipes(file, chosen.plugins)
        return Plan(
            study=file,
            name=name,
            model=spec.model,
            device=device,
            environment=describe_environment(device),
            registry=chosen,
            pool=with_recipes(pool, first),
            workload=spec.workload,
            objectives=OBJECTIVES,
            constraints=parse_all(file.constraints),
            notes=("a note",),
            directory=self.folder / "studies" / name,
            cache=self.folder / "cache",
            try_first=first,
        )

    def measure(self, spec: TrialSpec) -> TrialResult:
        """Runs a trial; accuracy costs something, so it is taken only where it is not known."""
        self.specs.append(spec)
        with (self.folder / "calls.log").open("a", encoding="utf-8") as log:
            log.write(f"{spec.number}:{spec.recipe_key}\n")
        metrics = numbers(spec)
        if spec.known_accuracy is not None:
            metrics["kld_mean_nats"] = spec.known_accuracy["kld_mean_nats"].value or 0.0
        else:
            self.scored.append(spec.output_key)
        return fake_result(spec, **metrics)

    def calls(self) -> list[str]:
        """``number:recipe_key`` of every measurement, those of dead processes included."""
        log = self.folder / "calls.log"
        return log.read_text(encoding="utf-8").split() if log.exists() else []

    def search(
        self,
        plan: Plan,
        run: Run | None = None,
        *,
        resume: bool = False,
        slots: int = 1,
        observer: Observer | None = None,
        max_attempts: int | None = MAX_ATTEMPTS,
    ) -> StudyRecord:
        def make_executor(on_progress: OnProgress) -> InlineExecutor:
            return InlineExecutor(run or self.measure, slots)

        with Store.open(self.url) as store:
            register(plan, store, resume=resume)
            own = observer or Observer()
            search = Search(plan, store, self.url, make_executor, own, max_attempts=max_attempts)
            return search.run()

    def die(self, plan: Plan, prepare: Callable[[], Run | None], *, resume: bool = False) -> None:
        """Searches in a process of its own, which ``prepare`` makes die with ``os._exit(9)``."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # idle threads of numpy
            child = os.fork()
        if child == 0:
            try:
                self.search(plan, prepare(), resume=resume)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9

    def trials(self, name: str = "first") -> list[TrialRecord]:
        with Store.open(self.url) as store:
            return store.trials(name)

    def study(self, name: str = "first") -> StudyRecord:
        with Store.open(self.url) as store:
            return store.study(name)

    def told(self, name: str = "first") -> Sequence[optuna.trial.FrozenTrial]:
        """The trials in Optuna's tables."""
        storage = optuna.storages.RDBStorage(self.url, skip_compatibility_check=True)
        try:
            return storage.get_all_trials(storage.get_study_id_from_name(name))
        finally:
            storage.remove_session()
            storage.engine.dispose()

    def agreed(self, name: str = "first") -> bool:
        """Whether both records hold the same finished trials."""
        complete = optuna.trial.TrialState.COMPLETE
        told = {t.number: t.user_attrs["outcome"] for t in self.told(name) if t.state == complete}
        stored = {t.number: str(t.result.outcome) for t in self.trials(name) if t.result}
        return told == stored

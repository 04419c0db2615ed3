"""Whether an exported directory still is, and does, what the trial did."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from autotune import registry
from autotune.environment import environment_differences
from autotune.errors import AutotuneError, InputError
from autotune.execute.base import OnProgress
from autotune.execute.local import LocalExecutor
from autotune.execute.warm import WarmSessions
from autotune.export.files import ExportFile, Numbers, read_export, read_numbers
from autotune.export.loaded import placed
from autotune.export.reference import ask_outputs, read_reference, tolerance_with
from autotune.front import usable
from autotune.messages import Measurement, Metrics, TrialSpec
from autotune.metrics import Family, metric
from autotune.search.reproduce import Check
from autotune.trust import Trust
from autotune.workload.model import resolve


@dataclass(frozen=True)
class Verified:
    """What came of it."""

    export: ExportFile
    max_abs_difference: float
    """Of the outputs on the stored tokens from the stored ones."""
    limit: float
    """How much is allowed."""
    differing: Mapping[str, tuple[str, str]]
    """What of the environment is not as it was: key → then, now."""
    alone: str
    """Why the original model did not run beside it; empty if it did."""
    checks: tuple[Check, ...] = ()
    """The stored numbers against those of now; none where the outputs are others."""
    uncompared: tuple[str, ...] = ()
    """Objectives that were not measured now, or cannot be judged by a directory."""
    fallbacks: tuple[str, ...] = ()
    """What ran otherwise than the recipe asks."""

    @property
    def outputs_hold(self) -> bool:
        """Whether the outputs are the trial's."""
        return self.max_abs_difference <= self.limit

    def holds(self, objectives: tuple[str, ...]) -> bool:
        """Whether outputs and objectives are what was stored."""
        lost = [c for c in self.checks if c.metric in objectives and not c.holds]
        return self.outputs_hold and not lost and not self.fallbacks


def verify(folder: Path, original: str | None, on_progress: OnProgress) -> Verified:
    """Reads all files, compares the outputs with the stored ones, and measures again in a fresh
    process.

    Args:
        folder: An exported directory.
        original: The folder of the original model; by default where it was.
        on_progress: Told what happens.

    Raises:
        InputError: It is no exported directory, or its files are damaged.
        AutotuneError: It cannot be loaded or measured.
    """
    found = read_export(folder, whole=True)
    numbers, reference = read_numbers(folder), read_reference(folder)
    plan, spec = placed(folder, found)
    differing = environment_differences(found.environment, plan.environment)
    measured, alone = _beside(spec, found, numbers, original)
    with closing(WarmSessions(plan.registry)) as sessions:
        session, _ = sessions.get("candidate", spec)
        again = ask_outputs(session, spec, reference.input_ids)
    moved = environment_differences(found.written_on, plan.environment)
    compared = Verified(
        export=found,
        max_abs_difference=reference.max_abs_difference(again),
        limit=reference.limit(tolerance_with(found.tolerance, moved)),
        differing=differing,
        alone=alone,
    )
    if not compared.outputs_hold:  # how fast another model is does not matter
        return compared
    checks, fallbacks = _measure(measured, numbers, alone, on_progress)
    judged = {check.metric for check in checks}
    uncompared = tuple(name for name in numbers.objectives if name not in judged)
    return replace(compared, checks=checks, uncompared=uncompared, fallbacks=fallbacks)


def _beside(
    spec: TrialSpec, found: ExportFile, numbers: Numbers, original: str | None
) -> tuple[TrialSpec, str]:
    """The trial to be measured beside the original model, or alone where that is not there."""
    path = Path(original or found.spec.model.path)
    # The file does not decide what is unpickled; who names the original himself does.
    pickled = original is not None and found.spec.model.trust.allow_pickle
    trust = Trust(allow_pickle=pickled)
    why = _why_alone(path, found, trust)
    if original and why:
        raise InputError(f"--model {original}: {why}")
    again = spec.model_copy(update={"confirmation": 1, "constraints": ()})
    if why:
        probe = spec.settings.model_copy(update={"reference": "probe"})
        return again.model_copy(update={"settings": probe, "baseline": numbers.baseline}), why
    model = spec.model.model_copy(update={"path": str(path.resolve()), "trust": trust})
    baseline = numbers.baseline if found.recipe else None
    return again.model_copy(update={"model": model, "baseline": baseline}), ""


def _why_alone(path: Path, found: ExportFile, trust: Trust) -> str:
    if not path.is_dir():
        return f"the original model is not at {path}"
    try:
        original = resolve(str(path), task=found.spec.model.task, trust=trust)
    except InputError as error:
        return f"the original model is not whole: {error}"
    if original.fingerprint != found.spec.model.fingerprint:
        return f"the files of {path} are not those of the original model"
    return ""


def _measure(
    spec: TrialSpec, numbers: Numbers, alone: str, on_progress: OnProgress
) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    with closing(LocalExecutor(registry.installed(), on_progress)) as executor:
        executor.submit(spec)
        result = executor.wait()
    if not usable([result]):
        raise AutotuneError(
            f"it could not be measured ({result.outcome}): {result.explanation}; see {result.log}"
        )
    return tuple(_checks(numbers, result.metrics, bool(alone))), result.fallbacks


def _checks(numbers: Numbers, now: Metrics, alone: bool) -> list[Check]:
    stored = numbers.one_process
    # The trial's loading had transforms to do that the files hold already.
    others = (Family.ACCURACY, Family.COLD)
    judged = [n for n in numbers.objectives if metric(n).family not in others]
    speed = [name for name in stored if metric(name).family is Family.SPEED]
    names = [n for n in dict.fromkeys((*judged, "weights_bytes", *speed)) if n in stored]
    return [
        Check(name, _without_ratio(stored[name], alone), now[name])
        for name in names
        if name in now and stored[name].value is not None and now[name].value is not None
    ]


def _without_ratio(stored: Measurement, alone: bool) -> Measurement:
    """Alone there is no ratio to compare with."""
    if not alone:
        return stored
    return stored.model_copy(update=dict.fromkeys(("ratio", "ratio_ci_low", "ratio_ci_high")))

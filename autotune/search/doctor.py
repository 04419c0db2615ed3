"""Proves the ruler on this machine: what it measures of things whose truth is known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum

from autotune.energy import energy_source
from autotune.errors import AutotuneError
from autotune.execute.ruler import Comparison, Ruler
from autotune.execute.slot import DeviceSlot
from autotune.messages import Measurement, TrialResult, TrialSpec
from autotune.metrics import metric
from autotune.recipe import Recipe
from autotune.search.plan import Plan
from autotune.search.single import make_spec

_MORE_WORK = 0.05
_DECODE_TOKENS = 41
_SPIKE_MEBIBYTES = 256
_SPIKE_ERROR_BYTES = 2 << 20


class Verdict(StrEnum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    """Numbers can be taken, with a caution that is said."""
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One check."""

    check: str
    verdict: Verdict
    words: str


def examine(plan: Plan, on_check: Callable[[str], None]) -> Iterator[Finding]:
    """Runs the checks, one after the other.

    Args:
        plan: The model, the workload and the device to examine with.
        on_check: Told what begins.
    """
    for name, check in _CHECKS.items():
        on_check(name)
        try:
            verdict, words = check(plan)
        except AutotuneError as error:
            verdict, words = Verdict.FAILED, str(error)
        yield Finding(name, verdict, words)


def _spec(plan: Plan) -> TrialSpec:
    spec = make_spec(plan, 0, Recipe())
    workload = spec.workload
    if spec.model.task == "causal-lm":
        workload = workload.model_copy(update={"new_tokens": _DECODE_TOKENS})
    return spec.model_copy(update={"workload": workload})


def _same(plan: Plan) -> tuple[Verdict, str]:
    with closing(Ruler(_spec(plan))) as ruler:
        found = ruler.compare(seed=1)
    contains = found.ratio.low <= 1 <= found.ratio.high
    width = found.ratio.half_width_ratio
    words = f"{_ratio(found)}; differences under about {100 * width:.1f} % cannot be seen here"
    if not contains:
        return Verdict.FAILED, f"{_ratio(found)} leaves out 1: two equal processes look different"
    return (Verdict.OK if width <= 0.05 else Verdict.WARNING), words


def _more_work(plan: Plan) -> tuple[Verdict, str]:
    if plan.model.task != "causal-lm":
        return Verdict.WARNING, "not tried: an encoder's work cannot be made 5 % more"
    with closing(Ruler(_spec(plan), _MORE_WORK)) as ruler:
        truth, found = ruler.true_ratio, ruler.compare(seed=2)
    words = f"true ratio {truth:.3f}, measured {_ratio(found)}"
    if not found.ratio.low <= truth <= found.ratio.high:
        return Verdict.FAILED, words
    return (Verdict.OK if found.ratio.low > 1 else Verdict.WARNING), words


def _ratio(found: Comparison) -> str:
    ratio = found.ratio
    return (
        f"{ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}] "
        f"({ratio.n} pairs, grade {found.grade})"
    )


def _spike(plan: Plan) -> tuple[Verdict, str]:
    command = [sys.executable, "-m", "autotune.bench.self_test", str(_SPIKE_MEBIBYTES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Verdict.FAILED, f"the test process failed: {last}"
    error = int(done.stdout)
    words = f"a spike of {_SPIKE_MEBIBYTES} MiB was read {error / 2**20:+.2f} MiB off"
    return (Verdict.OK if abs(error) <= _SPIKE_ERROR_BYTES else Verdict.FAILED), words


def _energy(plan: Plan) -> tuple[Verdict, str]:
    """Whether the baseline takes more than the idle machine, where anything can tell."""
    source, reason = energy_source(plan.device, plan.study.measure.cpu_watts_per_core)
    if reason:
        return Verdict.WARNING, f"not measured here: {reason}"
    metrics = _run_baseline(plan, plan.objectives).metrics
    busy, idle = metrics.get("avg_power_watts"), metrics.get("idle_power_watts")
    return judge_energy(source, busy, idle)


def judge_energy(
    source: str, busy: Measurement | None, idle: Measurement | None
) -> tuple[Verdict, str]:
    """Holds the power under load against that of the idle machine.

    Args:
        source: What measured them.
        busy: ``avg_power_watts`` of a trial.
        idle: ``idle_power_watts`` before it.
    """
    if busy is None or busy.value is None or busy.low is None:
        reason = busy.reason if busy else "the trial failed"
        return Verdict.FAILED, f"{source} gave no number: {reason}"
    if idle is None or idle.value is None:
        reason = idle.reason if idle else "idle power was not measured"
        return Verdict.WARNING, f"{source}: busy {busy.value:.3g} W; {reason}"
    words = f"{source}: busy {busy.value:.3g} W, idle {idle.value:.3g} W"
    return (Verdict.OK if busy.low > idle.value else Verdict.FAILED), words


def _run_baseline(plan: Plan, objectives: tuple[str, ...]) -> TrialResult:
    spec = make_spec(plan, 0, Recipe()).model_copy(update={"objectives": objectives})
    with closing(DeviceSlot(plan.registry, lambda _: None)) as slot:
        return slot.run(spec)


def _self_divergence(plan: Plan) -> tuple[Verdict, str]:
    """The baseline against its own stored reference, in batches of the same and of another
    size."""
    embeds = plan.model.task == "feature-extraction"
    name = "embedding_cosine_distance" if embeds else "kld_mean_nats"
    result = _run_baseline(plan, (name,))
    found = result.metrics.get(name)
    if found is None or found.value is None:
        return Verdict.FAILED, f"{result.outcome}: {result.explanation}"
    resolution = metric(name).resolution
    words = f"{name} of the baseline against itself: {found.value:.2g} (ties under {resolution:g})"
    if abs(found.value) >= resolution:
        return Verdict.FAILED, words
    floor = result.metrics.get("kld_self_floor_nats")
    if floor is None or floor.value is None:
        return Verdict.OK, words
    words += f"; in batches of another size: {floor.value:.2g}"
    return (Verdict.OK if floor.value < resolution else Verdict.WARNING), words


_CHECKS: dict[str, Callable[[Plan], tuple[Verdict, str]]] = {
    "memory": _spike,
    "energy": _energy,
    "accuracy": _self_divergence,
    "equal work": _same,
    "5 % more work": _more_work,
}

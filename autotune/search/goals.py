"""What a study wants: objectives and constraints that can be measured here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from autotune import constraints
from autotune.config import StudyFile
from autotune.constraints import Constraint
from autotune.device import Device
from autotune.energy import sensor_caveat
from autotune.errors import InputError
from autotune.metrics import (
    DEFAULT_AIMS,
    METRICS,
    PERCENTILES,
    Family,
    objective,
    percentile_name,
)
from autotune.search.budget import check_budget
from autotune.search.target import Target

_OF_ONE_BATCH = ("prefill_tokens_per_second", "decode_tokens_per_second")
_NEED_TWO_TOKENS = (
    "tpot_seconds",
    "decode_tokens_per_second",
    *(percentile_name("itl", percent) for percent in PERCENTILES),
)
_OF_THE_MACHINE = ("idle_power_watts", "device_temperature_celsius")


@dataclass(frozen=True)
class Goals:
    """Objectives and constraints of a study on a device."""

    objectives: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    notes: tuple[str, ...]
    """One sentence for each objective that was dropped, and what to know of the energy."""


def find_goals(study: StudyFile, task: str, target: Target) -> Goals:
    """Keeps the objectives that can be measured.

    Args:
        study: The study.
        task: What the model does.
        target: Where it runs.

    Raises:
        InputError: An objective or constraint makes no sense for this task or device, or none is
            left.
    """
    device, watts = target.device, study.measure.cpu_watts_per_core
    if watts is not None and device.kind != "cpu":
        raise InputError("cpu_watts_per_core is for CPUs: it leaves out what the GPU takes")
    source, why_no_energy = target.energy(watts)
    aims = study.objectives or DEFAULT_AIMS
    # Two aims may come to the same: a model that does not generate has no first token.
    wanted = tuple(dict.fromkeys(objective(name, task, device.kind) for name in aims))
    limits = constraints.parse_all(study.constraints)
    for name in wanted:
        _check(name, "objective", study, task, device)
    for limit in limits:
        _check(limit.metric, "constraint", study, task, device)
        if why_no_energy and _is_energy(limit.metric):
            raise InputError(f"the constraint {limit} cannot be checked here: {why_no_energy}")
    dropped = [name for name in wanted if why_no_energy and _is_energy(name)]
    kept = tuple(name for name in wanted if name not in dropped)
    if not kept:
        raise InputError(f"no objective can be measured here: {why_no_energy}")
    check_budget(study.budget, device, [*kept, *(limit.metric for limit in limits)], why_no_energy)
    notes = [_dropped(name, why_no_energy) for name in dropped]
    if any(map(_is_energy, (*kept, *(limit.metric for limit in limits)))):
        notes += filter(None, [_estimated(source, watts), sensor_caveat(device)])
    return Goals(kept, limits, tuple(notes))


def _estimated(source: str, watts: float | None) -> str:
    if not source.startswith("estimated:"):
        return ""
    return f"energy is estimated, not measured: CPU seconds times {watts:g} W per core, as given"


def _dropped(name: str, reason: str) -> str:
    return f"objective {name} is dropped, energy is not measured: {reason}"


def _is_energy(name: str) -> bool:
    return METRICS[name].family is Family.ENERGY


def _check(name: str, what: str, study: StudyFile, task: str, device: Device) -> None:
    if not METRICS[name].is_goal:
        raise InputError(
            f"{name} cannot be {'an' if what == 'objective' else 'a'} {what}: not every trial has "
            f"it; choose one of: {', '.join(_measured_for(task))}"
        )
    tasks = METRICS[name].tasks
    if tasks and task not in tasks:
        raise InputError(
            f"the {what} {name} is not measured for {task} models; choose one that is: "
            f"{', '.join(_measured_for(task))}"
        )
    if METRICS[name].family is Family.ROOF:
        raise InputError(
            f"the {what} {name} says how the device is used, which is no aim; use a speed such as "
            f"{objective('throughput', task, device.kind)}"
        )
    if name in _NEED_TWO_TOKENS and study.workload.new_tokens < 2:
        raise InputError(f"the {what} {name} needs workload.new_tokens of 2 or more")
    if name in _OF_ONE_BATCH and study.workload.traffic:
        raise InputError(
            f"the {what} {name} is that of a batch by itself, and this workload's requests share "
            "passes (workload.traffic): use output_tokens_per_second"
        )
    if name == "energy_joules" and what == "objective":
        raise InputError(
            "energy_joules is the energy of a window of fixed length, which is no aim; use "
            "energy_per_output_token_joules or energy_per_sample_joules"
        )
    if name in _OF_THE_MACHINE:
        raise InputError(f"{name} tells of the machine, not of a recipe; it can be no {what}")
    if name.startswith("device_") and device.kind == "cpu":
        raise InputError(f"the {what} {name} needs a GPU; on a CPU use host_model_peak_bytes")


def _measured_for(task: str) -> Sequence[str]:
    return [m.name for m in METRICS.values() if m.is_goal and (not m.tasks or task in m.tasks)]

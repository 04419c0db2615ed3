"""Energy among a study's goals: measured, estimated, dropped aloud."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from autotune.config import StudyFile, build_study
from autotune.errors import InputError
from autotune.messages import Measurement
from autotune.search.doctor import Verdict, judge_energy
from autotune.search.goals import find_goals
from autotune.search.target import Target
from autotune.testing import fake_device


def target(kind: Literal["cpu", "cuda"] = "cpu", source: str = "", why: str = "") -> Target:
    return Target(fake_device(kind), {"energy_source": source or "none"}, why)


ENERGY = "energy_per_output_token_joules"


def study(**keys: Any) -> StudyFile:
    return build_study({"model": "m", **keys}, "a test")


def test_energy_that_nothing_tells_is_dropped_aloud() -> None:
    found = find_goals(study(), "causal-lm", target(why="no counter here"))
    assert ENERGY not in found.objectives
    assert found.notes == (
        f"objective {ENERGY} is dropped, energy is not measured: no counter here",
    )


def test_measured_energy_needs_no_words() -> None:
    found = find_goals(study(), "causal-lm", target(source="measured:counter:rapl"))
    assert ENERGY in found.objectives
    assert found.notes == ()


def test_estimate_says_that_it_is_one() -> None:
    wanted = study(measure={"cpu_watts_per_core": 6})
    found = find_goals(wanted, "causal-lm", target(why="no counter here"))
    assert ENERGY in found.objectives
    (note,) = found.notes
    assert note == "energy is estimated, not measured: CPU seconds times 6 W per core, as given"


@pytest.mark.parametrize(("objectives", "notes"), [([ENERGY], 1), (["tpot_seconds"], 0)])
def test_part_time_sensor_is_said_once(objectives: list[str], notes: int) -> None:
    device = fake_device("cuda").model_copy(update={"name": "NVIDIA H100 80GB HBM3"})
    gpu = Target(device, {"energy_source": "measured:counter:nvml"}, "")
    found = find_goals(study(objectives=objectives), "causal-lm", gpu)
    assert len([n for n in found.notes if "a quarter of the time" in n]) == notes


def test_estimate_of_a_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="leaves out what the GPU takes"):
        find_goals(study(measure={"cpu_watts_per_core": 6}), "causal-lm", target("cuda"))


@pytest.mark.parametrize("name", ["idle_power_watts", "device_temperature_celsius"])
def test_facts_of_the_machine_are_no_objectives(name: str) -> None:
    with pytest.raises(InputError, match=f"{name} tells of the machine, not of a recipe"):
        find_goals(study(objectives=[name]), "causal-lm", target("cuda"))


def watts(value: float | None, low: float | None = None) -> Measurement:
    return Measurement(value=value, ci_low=low, unit="W", reason="" if value else "none")


@pytest.mark.parametrize(
    ("busy", "idle", "verdict", "words"),
    [
        (watts(30, 28), watts(10), Verdict.OK, "x: busy 30 W, idle 10 W"),
        (watts(11, 9), watts(10), Verdict.FAILED, "x: busy 11 W, idle 10 W"),
        (watts(None), watts(10), Verdict.FAILED, "x gave no number: none"),
        (None, None, Verdict.FAILED, "x gave no number: the trial failed"),
        (watts(30, 28), watts(None), Verdict.WARNING, "x: busy 30 W; none"),
    ],
)
def test_doctor_holds_busy_against_idle(
    busy: Measurement | None, idle: Measurement | None, verdict: Verdict, words: str
) -> None:
    assert judge_energy("x", busy, idle) == (verdict, words)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"objectives": ["itl_p90_seconds"], "workload": {"new_tokens": 1}}, "new_tokens"),
        ({"constraints": ["host_peak_pss_tree_bytes<=2e9"]}, "host_peak_pss_tree_bytes"),
    ],
)
def test_what_no_trial_would_have_is_no_goal(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        find_goals(study(**keys), "causal-lm", target(why="no counter here"))


def test_aims_become_the_metrics_of_task_and_device() -> None:
    wanted = study(objectives=["latency", "memory", "weights_bytes"])
    found = find_goals(wanted, "causal-lm", target("cpu")).objectives
    assert found == ("e2e_latency_seconds", "host_model_peak_bytes", "weights_bytes")
    found = find_goals(wanted, "sequence-classification", target("cuda")).objectives
    assert found == ("e2e_latency_seconds", "device_peak_process_bytes", "weights_bytes")


def test_two_aims_may_come_to_the_same() -> None:
    twice = study(objectives=["first_token", "latency"])
    found = find_goals(twice, "causal-lm", target("cpu")).objectives
    assert found == ("ttft_seconds", "e2e_latency_seconds")
    found = find_goals(twice, "feature-extraction", target("cpu")).objectives
    assert found == ("e2e_latency_seconds",)

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune.registry import Registry
from autotune.space import build_pool
from autotune_plugins import power
from autotune_plugins.power import Power

OFF = {"gpu_limit_ratio": 1.0, "gpu_clock_ratio": 1.0, "cpu_governor": "none"}


@pytest.fixture
def governors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cpu0" / "cpufreq"
    folder.mkdir(parents=True)
    (folder / "scaling_available_governors").write_text("performance powersave\n")
    monkeypatch.setattr(power, "_CPUS", tmp_path)


def test_only_what_is_chosen_is_set() -> None:
    assert Power().device_settings(OFF) == {}
    given = OFF | {"gpu_limit_ratio": 0.8}
    assert Power().device_settings(given) == {"gpu_limit_ratio": 0.8}


@pytest.mark.usefixtures("governors")
def test_each_device_has_its_own(cpu: Device, new_gpu: Device) -> None:
    Power().check(OFF | {"gpu_limit_ratio": 0.8}, {}, new_gpu)
    Power().check(OFF | {"cpu_governor": "performance"}, {}, cpu)
    with pytest.raises(Unsupported, match="gpu_clock_ratio is for models on a cuda device"):
        Power().check(OFF | {"gpu_clock_ratio": 0.8}, {}, cpu)
    with pytest.raises(Unsupported, match="cpu_governor is for models on a cpu device"):
        Power().check(OFF | {"cpu_governor": "performance"}, {}, new_gpu)
    with pytest.raises(Unsupported, match="no governor 'schedutil' here"):
        Power().check(OFF | {"cpu_governor": "schedutil"}, {}, cpu)


def test_a_kernel_without_governors_is_refused(
    cpu: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "_CPUS", tmp_path)
    with pytest.raises(Unsupported, match="no CPU frequency governor here"):
        Power().check(OFF | {"cpu_governor": "powersave"}, {}, cpu)


@pytest.mark.parametrize("allowed", [False, True])
def test_nothing_is_tried_without_consent(new_gpu: Device, allowed: bool) -> None:
    values = {"power": {"gpu_limit_ratio": (0.8,), "cpu_governor": ("none",)}}
    pool = build_pool(
        Registry({"power": Power()}),
        values,
        task="causal-lm",
        model_config={},
        device=new_gpu,
        seed=0,
        allow_power_changes=allowed,
    )
    assert len(pool.recipes) == (2 if allowed else 1)
    reasons = [refusal.reason for refusal in pool.refusals]
    assert all("needs --allow-power-changes" in reason for reason in reasons)
    assert bool(reasons) is not allowed

"""The fingerprint: what is read, which part of it is stable, and what two of them differ in."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autotune.environment import (
    ENV_ID,
    compare_environments,
    describe_environment,
    env_id,
    environment_differences,
    fingerprint,
    hardware,
)
from autotune.errors import InputError
from autotune.hashing import sha256_json
from autotune.testing import fake_device

RECORDED = Path(__file__).parents[1] / "fixtures" / "hosts"
"""``/proc`` and ``/sys`` of machines, cut to what is read and to few CPUs."""

VARIABLES = {
    "OMP_NUM_THREADS": "4",
    "KMP_AFFINITY": "compact",
    "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
    "TORCHINDUCTOR_CACHE_DIR": "/scratch/one",
    "CUDA_VISIBLE_DEVICES": "3",
    "LD_PRELOAD": "/usr/lib/libjemalloc.so.2",
    "HF_TOKEN": "secret",
    "OLD_OMP_NUM_THREADS": "8",
}


def described(host: Path = RECORDED / "server", **variables: str) -> dict[str, str]:
    return describe_environment(fake_device(), host, {**VARIABLES, **variables})


def test_server_is_read() -> None:
    found = described()
    assert found["cpu_model"] == "Intel(R) Xeon(R) Platinum 8480+"
    assert found["cpu_flags_sha256"] == sha256_json(["avx2", "avx512f", "fpu", "hypervisor"])[:16]
    assert (found["cpu_physical_cores"], found["cpu_logical_cores"]) == ("2", "4")
    assert found["ram_bytes"] == str(65_536_000 * 1024)
    assert (found["virtualization"], found["system_vendor"]) == ("virtual machine", "Amazon EC2")
    assert (found["cpu_governor"], found["transparent_huge_pages"]) == ("performance", "madvise")


def test_arm_board_is_read() -> None:
    found = described(RECORDED / "arm")
    assert found["cpu_model"] == "0x41 0xd0c 0x3 1"
    assert found["cpu_flags_sha256"] == sha256_json(["asimd", "fp"])[:16]
    assert (found["cpu_physical_cores"], found["cpu_logical_cores"]) == ("unknown", "2")
    assert (found["virtualization"], found["system_vendor"]) == ("unknown", "unknown")
    assert (found["cpu_governor"], found["transparent_huge_pages"]) == ("unknown", "unknown")


def test_machine_that_tells_nothing_is_described_nevertheless(tmp_path: Path) -> None:
    found = described(tmp_path)
    assert {found[key] for key in ("cpu_model", "ram_bytes", "cpu_logical_cores")} == {"unknown"}
    assert len(found[ENV_ID]) == 16


def test_only_allowed_variables_are_recorded() -> None:
    found = {key for key in described() if key.startswith("env:")}
    secret = {"env:HF_TOKEN", "env:OLD_OMP_NUM_THREADS"}
    assert found == {f"env:{name}" for name in VARIABLES} - secret
    assert "secret" not in described().values()


def test_versions_are_read_without_torch() -> None:
    code = (
        "import sys; from autotune.environment import describe_environment as d; "
        "from autotune.device import detect; found = d(detect('cpu')); "
        "assert found['torch'] and found['numpy'] and found['packages_sha256']; "
        "assert found['plugin_distributions'].startswith('autotune '); "
        "assert not {'torch', 'transformers', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def replay(monkeypatch: pytest.MonkeyPatch, driver: object, milliwatts: int | None) -> None:
    """NVML that knows one GPU; without milliwatts it has no power limit."""

    class NVMLError(Exception):
        pass

    def limit(uuid: str) -> int:
        if milliwatts is None:
            raise NVMLError
        return milliwatts

    library: Any = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlSystemGetDriverVersion=lambda: driver,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetEnforcedPowerLimit=limit,
    )

    @contextlib.contextmanager
    def nvml() -> Iterator[Any]:
        yield library

    monkeypatch.setattr(hardware, "nvml", nvml)


@pytest.mark.parametrize("driver", ["570.133.20", b"570.133.20"])
@pytest.mark.parametrize(("limit", "watts"), [(700_000, "700"), (None, "unknown")])
def test_gpu_is_read(
    monkeypatch: pytest.MonkeyPatch, driver: object, limit: int | None, watts: str
) -> None:
    replay(monkeypatch, driver, limit)
    found = describe_environment(fake_device("cuda"), RECORDED / "server", {})
    assert (found["device"], found["gpu_driver"]) == ("NVIDIA H200", "570.133.20")
    assert found["gpu_power_limit_watts"] == watts
    assert "gpu_driver" not in described()


def test_id_is_the_same_in_every_call() -> None:
    assert described() == described()
    assert described()[ENV_ID] == env_id(described())


COMPLETE = {
    **described(),
    "gpu_driver": "570.133.20",
    "gpu_power_limit_watts": "700",
    "os": "Linux 6.8.0-45-generic",
    "python": "3.12.4",
    "torchao": "0.17.0",
    "peft": "0.21.2",
    "onnxruntime": "1.32.0",
    "onnxscript": "0.7.2",
    "openvino": "2026.4.1",
    "nncf": "3.4.0",
    "llama-cpp-python": "0.3.36",
    "vllm": "0.29.0",
    "sglang": "0.5.9",
}
OTHER = {
    "device_memory_bytes": str(80 << 30),
    "ram_bytes": str(80 << 30),
    "gpu_driver": "575.57.08",
    "os": "Linux 6.11.0-1-generic",
    "python": "3.13.0",
}
"""Another value, where not any text is one."""


def other(key: str, value: str) -> dict[str, str]:
    changed = {**COMPLETE, key: value}
    return {**changed, ENV_ID: env_id(changed)}


def test_every_stable_key_is_recorded() -> None:
    assert set(fingerprint.STABLE) <= set(COMPLETE)


@pytest.mark.parametrize(
    "key", [*fingerprint.STABLE, "env:OMP_NUM_THREADS", "env:KMP_AFFINITY", "env:LD_PRELOAD"]
)
def test_id_changes_with_every_stable_key(key: str) -> None:
    before = {**COMPLETE, ENV_ID: env_id(COMPLETE)}
    after = other(key, OTHER.get(key, "another"))
    assert after[ENV_ID] != before[ENV_ID]
    assert environment_differences(before, after) == {key: (before[key], after[key])}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("os", "Linux 6.8.0-99-lowlatency"),
        ("python", "3.12.11"),
        ("gpu_driver", "570.86.10"),
        ("ram_bytes", str(65_530_000 * 1024)),
        ("optuna", "5.1.0"),
        ("packages_sha256", "0" * 16),
        ("env:CUDA_VISIBLE_DEVICES", "GPU-1"),
        ("env:TORCHINDUCTOR_CACHE_DIR", "/scratch/two"),
        ("env:LD_PRELOAD", "/opt/lib/libjemalloc.so.2"),
        ("a key of a later version", "x"),
    ],
)
def test_id_does_not_change_with_the_rest(key: str, value: str) -> None:
    before = {**COMPLETE, ENV_ID: env_id(COMPLETE)}
    after = other(key, value)
    assert after[ENV_ID] == before[ENV_ID]
    assert environment_differences(before, after) == {}


@pytest.mark.parametrize(
    "file",
    [
        "proc/cpuinfo",
        "proc/meminfo",
        "sys/class/dmi/id/sys_vendor",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "sys/kernel/mm/transparent_hugepage/enabled",
    ],
)
def test_id_changes_with_every_file(tmp_path: Path, file: str) -> None:
    host = tmp_path / "host"
    shutil.copytree(RECORDED / "server", host)
    assert described(host) == described()
    (host / file).unlink()
    assert described(host)[ENV_ID] != described()[ENV_ID]


def test_variable_that_is_new_differs() -> None:
    found = environment_differences(described(), described(MALLOC_ARENA_MAX="1"))
    assert found == {"env:MALLOC_ARENA_MAX": ("not recorded", "1")}


def test_id_of_another_rule_differs_by_itself() -> None:
    now = described()
    then = {**now, ENV_ID: "0" * 16}
    assert environment_differences(then, now) == {ENV_ID: ("0" * 16, now[ENV_ID])}


def test_another_environment_is_refused_and_what_differs_is_said() -> None:
    then, now = described(), described(OMP_NUM_THREADS="8", CUDA_VISIBLE_DEVICES="")
    line = "env:OMP_NUM_THREADS differs: then 4, now 8"
    with pytest.raises(InputError, match=rf"\({line}\).*--allow-different-env"):
        compare_environments(then, now, allow_different=False)
    assert compare_environments(then, now, allow_different=True) == [line]
    assert compare_environments(then, then, allow_different=False) == []

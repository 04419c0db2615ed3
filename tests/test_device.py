"""Devices, found without torch; NVML is replayed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from autotune import device
from autotune.device import Device, detect
from autotune.errors import InputError


def library(count: int, name: object = "NVIDIA H200") -> Any:
    return SimpleNamespace(
        nvmlDeviceGetCount=lambda: count,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: name,
        nvmlDeviceGetUUID=lambda handle: f"GPU-{handle}",
        nvmlDeviceGetCudaComputeCapability=lambda handle: (9, 0),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=150_000_000_000 + handle),
    )


def use(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    @contextlib.contextmanager
    def nvml() -> Iterator[Any]:
        yield found

    monkeypatch.setattr(device, "nvml", nvml)
    monkeypatch.setattr(device, "_torch_is_for_cpus", lambda: False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_detect_cpu_says_what_it_has() -> None:
    found = detect("cpu")
    assert (found.kind, found.uuid, found.torch_name) == ("cpu", "", "cpu")
    assert found.environment == {}
    assert found.memory_bytes > 1 << 20
    assert found.cores >= 1
    assert found.name
    assert found.compute_capability is None


@pytest.mark.parametrize("found", [None, library(0)], ids=["no driver", "no GPU"])
def test_detect_auto_falls_back_to_the_cpu(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    use(monkeypatch, found)
    assert detect("auto").kind == "cpu"


@pytest.mark.parametrize(("wanted", "index"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_detect_gpu(monkeypatch: pytest.MonkeyPatch, wanted: str, index: int) -> None:
    use(monkeypatch, library(2))
    found = detect(wanted)
    assert (found.kind, found.uuid, found.torch_name) == ("cuda", f"GPU-{index}", "cuda:0")
    assert found.environment["CUDA_VISIBLE_DEVICES"] == f"GPU-{index}"
    assert (found.count, found.compute_capability) == (2, (9, 0))
    assert found.memory_bytes == 150_000_000_000 + index


@pytest.mark.parametrize(
    ("index", "count", "uuids"),
    [
        (0, 1, "GPU-0"),
        (0, 2, "GPU-0,GPU-1"),
        (3, 2, "GPU-3,GPU-2"),
        (1, 4, "GPU-1,GPU-0,GPU-2,GPU-3"),
        (4, 2, "GPU-4,GPU-3"),
        (4, 5, "GPU-4,GPU-0,GPU-1,GPU-2,GPU-3"),
    ],
)
def test_with_gpus_takes_neighbours(
    monkeypatch: pytest.MonkeyPatch, index: int, count: int, uuids: str
) -> None:
    use(monkeypatch, library(5))
    found = detect(f"cuda:{index}").with_gpus(count)
    assert found.environment["CUDA_VISIBLE_DEVICES"] == uuids
    assert found.with_gpus(1) == detect(f"cuda:{index}")


@pytest.mark.parametrize(
    ("visible", "wanted", "uuid"),
    [("2", "cuda", "GPU-2"), ("GPU-1,0", "cuda:1", "GPU-0"), ("GPU-1,0", "auto", "GPU-1")],
)
def test_detect_counts_only_visible_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str, wanted: str, uuid: str
) -> None:
    use(monkeypatch, library(3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert detect(wanted).uuid == uuid


def test_detect_auto_takes_the_cpu_where_no_gpu_is_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, library(3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect("auto").kind == "cpu"


def test_detect_takes_no_gpu_with_a_torch_for_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, library(3))
    monkeypatch.setattr(device, "_torch_is_for_cpus", lambda: True)
    assert detect("auto").kind == "cpu"
    with pytest.raises(InputError, match="built for CPUs only"):
        detect("cuda")


def test_detect_gpu_reads_a_name_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, library(1, b"Tesla T4"))
    assert detect("cuda").name == "Tesla T4"


@pytest.mark.parametrize("wanted", ["gpu", "cuda:x", "cuda:-1", "", "CPU", "cpu:0"])
def test_detect_refuses_unknown_names(wanted: str) -> None:
    with pytest.raises(InputError, match="allowed: auto, cpu, cuda, cuda:N"):
        detect(wanted)


@pytest.mark.parametrize("found", [None, library(0), library(1)])
def test_detect_refuses_a_gpu_that_is_not_here(
    monkeypatch: pytest.MonkeyPatch, found: Any
) -> None:
    use(monkeypatch, found)
    with pytest.raises(InputError, match=r"'cuda:7' is not here: NVML finds [01] NVIDIA GPUs"):
        detect("cuda:7")


def test_nvml_without_a_driver_yields_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def fail() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with device.nvml() as opened:
        assert opened is None


def test_nvml_is_shut_down_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    calls: list[str] = []
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: calls.append("init"))
    monkeypatch.setattr(pynvml, "nvmlShutdown", lambda: calls.append("shutdown"))

    def use_it() -> None:
        with device.nvml() as opened:
            assert opened is pynvml
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        use_it()
    assert calls == ["init", "shutdown"]


def test_device_is_frozen_and_travels_as_json() -> None:
    found = Device(
        kind="cuda",
        name="g",
        memory_bytes=1,
        cores=1,
        compute_capability=(9, 0),
        cpu_flags=frozenset({"b", "a"}),
    )
    assert Device.model_validate_json(found.model_dump_json()) == found
    with pytest.raises(ValidationError):
        found.kind = "cpu"  # type: ignore[misc]

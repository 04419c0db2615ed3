"""The device's rates; no test looks at how high they are."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from autotune.bench.meters import roof
from autotune.bench.meters.roof import last_level_bytes, measure_roof, product, stopwatch
from autotune.device import detect
from autotune.metrics import METRICS
from autotune.metrics.roof import FORMATS, matmul_rate_name

CPU = torch.device("cpu")


def test_rates_of_this_machine_are_positive_or_explained() -> None:
    found = measure_roof(detect("cpu"), seconds=0.05)
    assert {matmul_rate_name(form) for form in FORMATS} <= found.keys() <= METRICS.keys()
    for name, rate in found.items():
        assert rate.unit == METRICS[name].unit
        if rate.value is None:
            assert rate.reason
        else:
            assert rate.value > 0
            assert math.isfinite(rate.value)
    for name in (matmul_rate_name("float32"), "roof_copy_bytes_per_second"):
        assert found[name].value is not None


def test_rate_that_cannot_be_measured_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("no kernel for this\nand a trace")

    monkeypatch.setattr(torch, "_int_mm", refuse)
    rate = measure_roof(detect("cpu"), seconds=0.05)[matmul_rate_name("int8")]
    assert rate.value is None
    assert rate.reason == "cannot be measured here: RuntimeError: no kernel for this"


def test_products_are_of_the_format_that_they_say() -> None:
    ints = product("int8", 32, CPU)()
    assert isinstance(ints, torch.Tensor)
    assert ints.dtype is torch.int32
    halves = product("bfloat16", 32, CPU)()
    assert isinstance(halves, torch.Tensor)
    assert (halves.dtype, halves.shape) == (torch.bfloat16, (32, 32))


class Event:
    """torch.cuda.Event's part of the stopwatch; the clock goes on by 250 ms with each run."""

    clock = 0.0

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing
        self.at = -1.0

    def record(self) -> None:
        self.at = Event.clock

    def synchronize(self) -> None:
        assert self.at >= 0

    def elapsed_time(self, end: Event) -> float:
        return end.at - self.at


def test_gpu_is_timed_by_its_own_events(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def run() -> None:
        done.append("run")
        Event.clock += 250

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("synchronised"))
    assert stopwatch(torch.device("cuda"))(run) == 0.25
    assert done == ["synchronised", "run"]
    assert stopwatch(CPU)(run) > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_rates_of_a_gpu_are_positive() -> None:
    found = measure_roof(detect("cuda"), seconds=2.0)
    assert (found["roof_read_bytes_per_second"].value or 0) > 0
    assert (found[matmul_rate_name("float16")].value or 0) > 0
    assert (found["roof_cache_bytes"].value or 0) > 0


def test_arrays_are_larger_than_the_cache_where_memory_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roof, "cache_bytes", lambda device: 40 << 20)
    for free_gib, expected_mib in ((64, 160), (1, 64)):
        free = SimpleNamespace(available=free_gib << 30)
        monkeypatch.setattr(roof.psutil, "virtual_memory", lambda free=free: free)
        assert roof._array_bytes(CPU) == expected_mib << 20


def describe(cpus: Path, number: int, index: int, level: int, size: str, shared: str) -> None:
    folder = cpus / f"cpu{number}" / "cache" / f"index{index}"
    folder.mkdir(parents=True)
    (folder / "level").write_text(f"{level}\n")
    (folder / "size").write_text(f"{size}\n")
    (folder / "shared_cpu_list").write_text(f"{shared}\n")


def test_last_level_cache_counts_each_group_of_cpus_once(tmp_path: Path) -> None:
    for number, shared in ((0, "0-1"), (1, "0-1"), (2, "2-3"), (3, "2-3")):
        describe(tmp_path, number, 2, 2, "512K", str(number))
        describe(tmp_path, number, 3, 3, "32768K", shared)
    assert last_level_bytes(tmp_path, {0, 1, 2, 3}) == 64 << 20
    assert last_level_bytes(tmp_path, {1}) == 32 << 20
    assert last_level_bytes(tmp_path / "nowhere", {0}) is None

"""Energy counters: real where there is one, null with a reason where there is none."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autotune import device
from autotune.energy import EnergyMeter, Window, energy_metrics, find_meter, unavailable
from autotune.energy import nvml as nvml_module
from autotune.energy import rapl as rapl_module
from autotune.energy import zeus as zeus_module
from autotune.energy.nvml import NvmlCounter, NvmlSampler, sensor_caveat
from autotune.energy.rapl import RaplCounter
from autotune.metrics import METRICS, Family
from autotune.testing import fake_device

CPU, GPU = fake_device("cpu"), fake_device("cuda")


@pytest.fixture(autouse=True)
def without_zeus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is installed here or not; ``test_zeus.py`` is about it."""
    monkeypatch.setattr(zeus_module.importlib.util, "find_spec", lambda name: None)


RANGE = 262_143_328_850


def zone(powercap: Path, name: str, microjoules: int, kind: str = "package-0") -> Path:
    folder = powercap / name
    folder.mkdir()
    (folder / "name").write_text(f"{kind}\n", encoding="ascii")
    (folder / "energy_uj").write_text(f"{microjoules}\n", encoding="ascii")
    (folder / "max_energy_range_uj").write_text(f"{RANGE}\n", encoding="ascii")
    return folder


def advance(folder: Path, microjoules: int) -> None:
    """Counts on, and starts over beyond the range as the kernel does."""
    file = folder / "energy_uj"
    value = int(file.read_text(encoding="ascii")) + microjoules
    file.write_text(f"{value % RANGE}\n", encoding="ascii")


def rapl(powercap: Path) -> RaplCounter:
    counter = find_meter(CPU, powercap=powercap)
    assert isinstance(counter, RaplCounter)
    return counter


def test_rapl_of_one_package(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", 5_000_000)
    counter = rapl(tmp_path)
    start = counter.now()
    assert start == (5.0,)
    advance(package, 2_500_000)
    assert counter.joules_since(start) == pytest.approx(2.5)
    assert counter.source == "measured:counter:rapl"


def test_rapl_adds_packages_up_and_leaves_their_parts_out(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", 2_000_000, "package-1")
    core = zone(tmp_path, "intel-rapl:0:0", 700_000, "core")
    zone(tmp_path, "intel-rapl-mmio:0", 400_000)
    (tmp_path / "intel-rapl").mkdir()  # the control type itself has no counter
    counter = rapl(tmp_path)
    assert counter.zones == (first, second)
    start = counter.now()
    assert start == (1.0, 2.0)
    for folder in (first, second, core):
        advance(folder, 1_000_000)
    assert counter.joules_since(start) == pytest.approx(2.0)


@pytest.mark.parametrize("wrapping", ["first", "second"])
def test_rapl_wraps_around(tmp_path: Path, wrapping: str) -> None:
    near_the_end = RANGE - 1_000_000
    first = zone(tmp_path, "intel-rapl:0", near_the_end if wrapping == "first" else 0)
    second = zone(tmp_path, "intel-rapl:1", near_the_end if wrapping == "second" else 0)
    counter = rapl(tmp_path)
    start = counter.now()
    advance(first, 3_000_000)
    advance(second, 4_000_000)
    assert counter.joules_since(start) == pytest.approx(7.0, abs=1e-4)


def test_rapl_of_two_packages_with_other_ranges_that_both_wrap(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", 9_000_000)
    second = zone(tmp_path, "intel-rapl:1", 4_000_000, "package-1")
    (first / "max_energy_range_uj").write_text("10000000\n", encoding="ascii")
    (second / "max_energy_range_uj").write_text("5000000\n", encoding="ascii")
    counter = rapl(tmp_path)
    start = counter.now()
    (first / "energy_uj").write_text("2000000\n", encoding="ascii")
    (second / "energy_uj").write_text("500000\n", encoding="ascii")
    assert counter.joules_since(start) == pytest.approx(3.0 + 1.5)


def test_rapl_leaves_the_whole_platform_out(tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", 0)
    platform = zone(tmp_path, "intel-rapl:1", 0, "psys")
    counter = rapl(tmp_path)
    assert counter.zones == (package,)
    start = counter.now()
    advance(package, 1_000_000)
    advance(platform, 9_000_000)
    assert counter.joules_since(start) == pytest.approx(1.0)


def test_rapl_of_the_whole_platform_alone_is_no_counter(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 0, "psys")
    assert f"no RAPL counter in {tmp_path}" in str(find_meter(CPU, powercap=tmp_path))


@pytest.mark.parametrize("content", ["", "\n", "none\n"])
def test_rapl_that_gives_no_number(tmp_path: Path, content: str) -> None:
    package = zone(tmp_path, "intel-rapl:0", 1)
    (package / "energy_uj").write_text(content, encoding="ascii")
    reason = find_meter(CPU, powercap=tmp_path)
    assert isinstance(reason, str)
    assert reason.startswith(f"the RAPL counter in {package} gives no number: ")


def test_rapl_without_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = zone(tmp_path, "intel-rapl:0", 1)

    def refuse(file: Path) -> float:
        raise OSError(errno.ENODATA, "No data available", str(file))

    monkeypatch.setattr(rapl_module, "_joules", refuse)
    reason = find_meter(CPU, powercap=tmp_path)
    assert isinstance(reason, str)
    assert reason.startswith(f"the RAPL counter in {package} gives no number: ")
    assert "No data available" in reason


@pytest.mark.parametrize("present", [False, True])
def test_rapl_absent(tmp_path: Path, present: bool) -> None:
    powercap = tmp_path / "powercap"
    if present:
        (powercap / "intel-rapl:0").mkdir(parents=True)
    reason = find_meter(CPU, powercap=powercap)
    assert isinstance(reason, str)
    assert f"no RAPL counter in {powercap} (a virtual machine" in reason


def test_rapl_unreadable_names_file_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zone(tmp_path, "intel-rapl:0", 1)

    def refuse(file: Path) -> float:
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(rapl_module, "_joules", refuse)
    reason = find_meter(CPU, powercap=tmp_path)
    assert reason == (
        f"{tmp_path}/intel-rapl:0/energy_uj is not readable by this user; as root: chmod a+r it"
    )


class NVMLError(Exception):
    """The root of NVML's errors."""


class NVMLErrorNotSupported(NVMLError):
    """What NVML raises for a feature that the GPU lacks."""


class Nvml:
    """A recorded NVML: one GPU that counts millijoules."""

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLErrorNotSupported

    NVML_TEMPERATURE_GPU = 0

    def __init__(
        self,
        *,
        mig: object = NVMLErrorNotSupported(),
        energy: bool = True,
        power: bool = True,
        virtualization: object = 0,
    ) -> None:
        self._mig, self._energy, self._power = mig, energy, power
        self._virtualization = virtualization
        self.millijoules = 1_000_000
        self.readings = 0
        self.uuids: list[str] = []

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.uuids.append(uuid)
        return uuid

    def nvmlDeviceGetMigMode(self, handle: int) -> Any:
        if isinstance(self._mig, Exception):
            raise self._mig
        return self._mig

    def nvmlDeviceGetVirtualizationMode(self, handle: int) -> Any:
        if isinstance(self._virtualization, Exception):
            raise self._virtualization
        return self._virtualization

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        if not self._power:
            raise NVMLErrorNotSupported("Not Supported")
        self.readings += 1
        return 50_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        if not self._energy:
            raise NVMLErrorNotSupported("Not Supported")
        return self.millijoules


def inject(monkeypatch: pytest.MonkeyPatch, library: Nvml | None) -> None:
    @contextlib.contextmanager
    def nvml() -> Iterator[Any]:
        yield library

    monkeypatch.setattr(device, "nvml", nvml)
    monkeypatch.setattr(nvml_module, "nvml", nvml)


@pytest.mark.parametrize("mig", [NVMLErrorNotSupported(), [0, 0]], ids=["no MIG", "MIG off"])
def test_nvml_counts_in_joules(monkeypatch: pytest.MonkeyPatch, mig: object) -> None:
    library = Nvml(mig=mig)
    inject(monkeypatch, library)
    counter = find_meter(GPU)
    assert isinstance(counter, NvmlCounter)
    assert counter.source == "measured:counter:nvml"
    start = counter.now()
    library.millijoules += 2_500
    assert counter.joules_since(start) == pytest.approx(2.5)
    assert set(library.uuids) == {GPU.uuid}


def test_nvml_adds_the_gpus_of_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Nvml()
    inject(monkeypatch, library)
    counter = find_meter(GPU.model_copy(update={"uuid": "a", "others": ("b", "c")}))
    assert isinstance(counter, NvmlCounter)
    start = counter.now()
    library.millijoules += 2_500  # of each
    assert counter.joules_since(start) == pytest.approx(7.5)
    assert set(library.uuids) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("library", "reason"),
    [
        (None, "the NVIDIA driver's library (NVML) cannot be opened"),
        (Nvml(mig=[1, 1]), "the GPU is partitioned (MIG): its counter covers all partitions"),
        (
            Nvml(virtualization=2),
            "the GPU is a virtual one (vGPU): readings are of the whole card",
        ),
        (
            Nvml(energy=False, power=False),
            "NVIDIA H200 has no readable energy counter (Not Supported) and no power reading "
            "(Not Supported)",
        ),
    ],
)
def test_nvml_says_why_there_is_no_counter(
    monkeypatch: pytest.MonkeyPatch, library: Nvml | None, reason: str
) -> None:
    inject(monkeypatch, library)
    assert find_meter(GPU) == reason


@pytest.mark.parametrize("virtualization", [0, 1, NVMLErrorNotSupported()])
def test_nvml_of_a_whole_gpu_is_read_in_a_virtual_machine_too(
    monkeypatch: pytest.MonkeyPatch, virtualization: object
) -> None:
    inject(monkeypatch, Nvml(virtualization=virtualization))
    assert isinstance(find_meter(GPU), NvmlCounter)


def test_gpu_without_a_counter_is_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Nvml(energy=False)
    inject(monkeypatch, library)
    meter = find_meter(GPU)
    assert isinstance(meter, NvmlSampler)
    assert meter.source == "measured:sampled:nvml"
    assert (meter.min_window_seconds, meter.min_windows) == (5.0, 5)
    spent = meter.joules_of(lambda: None)
    assert library.readings == 1 + 2  # to find it, then before and after the work
    assert 0 < spent < 50


@pytest.mark.parametrize(
    ("name", "part_time"), [("NVIDIA A100-SXM4-80GB", True), ("NVIDIA H200", False)]
)
def test_part_time_sensors_are_named(name: str, part_time: bool) -> None:
    told = sensor_caveat(GPU.model_copy(update={"name": name}))
    assert ("a quarter of the time" in told) is part_time
    assert sensor_caveat(CPU) == ""


@pytest.mark.parametrize(
    ("task", "per_unit"),
    [
        ("causal-lm", "energy_per_output_token_joules"),
        ("feature-extraction", "energy_per_sample_joules"),
        ("sequence-classification", "energy_per_sample_joules"),
    ],
)
def test_unavailable_is_null_with_a_reason(task: str, per_unit: str) -> None:
    found = unavailable(task, "no counter here")
    assert set(found) == {"energy_joules", per_unit, "avg_power_watts"}
    for name, measured in found.items():
        assert (measured.value, measured.reason) == (None, "no counter here")
        assert (measured.low, measured.high) == (None, None)
        assert METRICS[name].family is Family.ENERGY
        assert measured.unit == METRICS[name].unit


def test_energy_metrics_are_medians_over_windows() -> None:
    windows = [Window(joules=10.0 * n, seconds=2.0, units=5) for n in (1, 2, 3, 4, 50)]
    found = energy_metrics("causal-lm", windows, "measured:counter:nvml")
    values = {name: measured.value for name, measured in found.items()}
    assert values == {
        "energy_joules": 30.0,
        "energy_per_output_token_joules": 6.0,
        "avg_power_watts": 15.0,
    }
    power = found["avg_power_watts"]
    assert (power.ci_low, power.ci_high, power.n) == (5.0, 250.0, 5)
    assert (power.source, power.stat) == ("measured:counter:nvml", "median")


def test_energy_per_token_divides_each_window_by_its_own_tokens() -> None:
    windows = [Window(joules=float(n), seconds=1.0, units=n) for n in (1, 2, 4, 8, 16, 32)]
    found = energy_metrics("causal-lm", windows, "s")["energy_per_output_token_joules"]
    assert (found.value, found.ci_low, found.ci_high) == (1.0, 1.0, 1.0)


def test_coordinator_can_ask_here() -> None:
    """Whatever this machine has: a counter, or a sentence."""
    found = find_meter(device.detect("cpu"))
    assert isinstance(found, EnergyMeter) or found

"""zeus: a stand-in for its module, read by the real process; and zeus itself where it is."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from autotune.energy import find_meter
from autotune.energy.zeus import ZeusCounter, find_zeus
from autotune.errors import AutotuneError
from autotune.testing import fake_device

STAND_IN = """
from types import SimpleNamespace

class Cpus:
    counted = 1_000_000.0

    def __len__(self):
        return {packages}

    def get_total_energy_consumption(self, index):
        {before}
        self.counted += 2_500.0
        return SimpleNamespace(cpu_mj=self.counted * (index + 1), dram_mj=7.0)

def get_cpus():
    return Cpus()
"""


def command(tmp_path: Path, packages: int = 1, before: str = "pass") -> tuple[str, ...]:
    """The process, with a stand-in for zeus in front of the installed one."""
    folder = tmp_path / "zeus"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "device.py").write_text(STAND_IN.format(packages=packages, before=before))
    start = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); "
        "from autotune.energy.zeus_process import main; main()"
    )
    return sys.executable, "-c", start


def test_packages_are_added_up_in_joules(tmp_path: Path) -> None:
    counter = ZeusCounter(command(tmp_path, packages=2))
    assert counter.reason == ""
    assert counter.source == "measured:counter:zeus"
    # Each package's reading moves the stand-in on: 2.5 J, and twice that.
    assert counter.joules_of(lambda: None) == pytest.approx(5.0 + 2 * 5.0)
    counter.close()
    counter.close()


def test_no_package_is_a_reason(tmp_path: Path) -> None:
    counter = ZeusCounter(command(tmp_path, packages=0))
    assert counter.reason == "LookupError: no CPU package is listed"
    counter.close()


def test_error_is_a_reason_in_one_line(tmp_path: Path) -> None:
    counter = ZeusCounter(command(tmp_path, before="raise OSError('not\\nreadable')"))
    assert counter.reason == "OSError: not readable"
    counter.close()


def test_process_that_dies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AutotuneError, match="gives no answer"):
        ZeusCounter((sys.executable, "-c", "pass"))


def test_it_stays_out_of_this_process() -> None:
    assert not any(name.split(".")[0] == "zeus" for name in sys.modules)


def test_absent_zeus_adds_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert find_zeus() == ""
    reason = find_meter(fake_device("cpu"), powercap=tmp_path)
    assert str(reason).endswith("(a virtual machine, or a CPU without RAPL)")


def test_real_zeus_counts_or_says_why_not() -> None:
    if importlib.util.find_spec("zeus") is None:
        pytest.skip("zeus is not installed")
    found = find_zeus()
    if isinstance(found, str):
        assert found.startswith("zeus: ")
        assert "RAPL" in found
    else:
        assert found.joules_of(lambda: None) >= 0
        found.close()

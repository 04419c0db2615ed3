"""Meters of other distributions, through real entry points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.energy import find_meter, idle_power
from autotune.energy.find import energy_source
from autotune.errors import InputError
from autotune.testing import fake_device

CPU = fake_device("cpu")

PLUG = '''
from autotune.energy import Counter

class Plug(Counter):
    """Says ten joules more each time."""
    source = "{source}"
    counted = 0.0

    def now(self):
        self.counted += 10.0
        return (self.counted,)

def find(device):
    return {result}
'''

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a distribution with one meter on the path."""

    def make(result: str, source: str = "measured:external:plug", name: str = "plug") -> None:
        module = f"wall_{name}_{abs(hash((result, source)))}"
        (tmp_path / f"{module}.py").write_text(PLUG.format(source=source, result=result))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[autotune.energy]\n{name} = {module}:find\n")

    monkeypatch.syspath_prepend(str(tmp_path))
    energy_source.cache_clear()
    return make


def test_external_meter_comes_first(install: Install) -> None:
    install("Plug()")
    found = find_meter(CPU, 5.0)
    assert not isinstance(found, str)
    assert found.source == "measured:external:plug"
    assert found.joules_of(lambda: None) == 10.0


def test_idle_power_is_measured_once_with_its_source(install: Install) -> None:
    install("Plug()")
    (found,) = idle_power(CPU, None, 0.05).values()
    assert found.source == "measured:external:plug"
    assert found.value is not None
    assert 0 < found.value <= 10 / 0.05
    energy_source.cache_clear()


def test_external_meter_that_cannot_says_why(install: Install, tmp_path: Path) -> None:
    install("'the plug is not in the wall'")
    found = find_meter(fake_device("cpu"), powercap=tmp_path)
    assert str(found).startswith("plug: the plug is not in the wall; no RAPL counter")


def test_second_meter_is_asked_where_the_first_cannot(install: Install) -> None:
    install("'no'", name="a")
    install("Plug()", name="b")
    assert not isinstance(find_meter(CPU), str)


@pytest.mark.parametrize(
    ("result", "source", "words"),
    [
        ("1 / 0", "measured:external:x", "cannot be made: ZeroDivisionError"),
        ("42", "measured:external:x", "must return an EnergyMeter or a sentence, not 42"),
        ("Plug()", "measured:counter:x", "it must begin with measured:external:"),
    ],
)
def test_broken_meter_is_named(install: Install, result: str, source: str, words: str) -> None:
    install(result, source)
    with pytest.raises(InputError, match=f"the energy meter 'plug' .*{words}"):
        find_meter(CPU)

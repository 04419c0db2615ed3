"""Energy through the command: a meter of another distribution."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

WALL_PLUG = Path(__file__).parents[1] / "fixtures" / "wall_plug"


def baseline_of(folder: Path) -> dict[str, Any]:
    front = json.loads((folder / "studies" / "s" / "front.json").read_text())
    found: dict[str, Any] = front["baseline"]["metrics"]
    return found


@pytest.mark.slow
def test_external_meter_is_used_from_idle_to_the_objective(
    autotune: Callable[..., Any],
    study: Callable[..., Path],
    install: Callable[[Path, Path], Path],
    tmp_path: Path,
) -> None:
    plug = install(WALL_PLUG, tmp_path / "site")
    path = study(plugins={"batch": {"size": [4]}})

    done = autotune("search", "--study", path, "--trials", 2, plugins=[plug])

    assert done.returncode == 0, done.stderr
    assert "energy_per_output_token_joules" in done.stdout
    found = baseline_of(tmp_path)
    for name, watts in (("idle_power_watts", 10), ("avg_power_watts", 30)):
        assert found[name]["source"] == "measured:external:plug"
        assert found[name]["value"] == pytest.approx(watts, rel=0.2)
    assert found["energy_per_output_token_joules"]["n"] == 6


def test_watts_must_be_more_than_nothing(
    autotune: Callable[..., Any], study: Callable[..., Path]
) -> None:
    done = autotune("search", "--study", study(), "--cpu-watts-per-core", 0)
    assert done.returncode == 2
    assert "--cpu-watts-per-core: Input should be greater than 0" in done.stderr

"""Distributions of others, installed really, without touching this repository: the example of
plugins/README.md, and an energy meter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
WALL_PLUG = Path(__file__).parents[1] / "fixtures" / "wall_plug"
_BUILD = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'


def example(folder: Path) -> Path:
    """Writes the distribution that the first two code blocks show."""
    text = (ROOT / "plugins/README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```(python|toml)\n(.*?)```", text, re.DOTALL)
    code = next(block for kind, block in blocks if kind == "python")
    project = next(block for kind, block in blocks if kind == "toml")
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    package = folder / "autotune_cap"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(code, encoding="utf-8")
    (folder / "pyproject.toml").write_text(_BUILD + project, encoding="utf-8")
    return folder


@pytest.mark.slow
def test_example_plugin_is_searched_and_its_energy_read_from_a_plug(
    autotune: Callable[..., Any],
    study: Callable[..., Path],
    install: Callable[[Path, Path], Path],
    tmp_path: Path,
) -> None:
    plugin = install(example(tmp_path / "distribution"), tmp_path / "plugin")
    sites = [plugin, install(WALL_PLUG, tmp_path / "plug")]

    listed = autotune("plugins", "list", "--json", plugins=sites)
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["matmul"]["distribution"] == "autotune-cap 0.1.0"
    assert "batch" in rows

    path = study(plugins={"matmul": {"precision": ["medium"]}})
    done = autotune("search", "--study", path, "--json", plugins=sites)
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)
    assert front["trials"] == 2
    assert front["convergence_reason"] == "pool exhausted: all 2 recipes were tried"
    assert "matmul medium" in done.stderr
    assert "energy_per_output_token_joules" in done.stderr
    _check_energy(front["baseline"]["metrics"])


def _check_energy(found: dict[str, Any]) -> None:
    for name, watts in (("idle_power_watts", 10), ("avg_power_watts", 30)):
        assert found[name]["source"] == "measured:external:plug"
        assert found[name]["value"] == pytest.approx(watts, rel=0.2)
    assert found["energy_per_output_token_joules"]["n"] == 6

"""The example of plugins/README.md, installed really, without touching this repository."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
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
def test_example_plugin_is_listed_and_searched(
    autotune: Callable[..., Any],
    study: Callable[..., Path],
    install: Callable[[Path, Path], Path],
    tmp_path: Path,
) -> None:
    site = install(example(tmp_path / "distribution"), tmp_path / "site")

    listed = autotune("plugins", "list", "--json", plugins=[site])
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["matmul"]["distribution"] == "autotune-cap 0.1.0"
    assert "batch" in rows

    path = study(plugins={"matmul": {"precision": ["medium"]}})
    done = autotune("search", "--study", path, "--json", plugins=[site])
    assert done.returncode == 0, done.stderr
    front = json.loads(done.stdout)
    assert front["trials"] == 2
    assert front["convergence_reason"] == "pool exhausted: all 2 recipes were tried"
    assert "matmul medium" in done.stderr

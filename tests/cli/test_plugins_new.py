"""``autotune plugins new``: what it writes works at once, and wrong names are refused."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from documentation import is_explained

RunMain = Callable[..., tuple[int, str, str]]


def run_python(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_distribution_is_clean_and_its_tests_pass(run_main: RunMain, tmp_path: Path) -> None:
    code, out, _ = run_main("plugins", "new", "low_rank")
    folder = tmp_path / "autotune-low-rank"
    assert code == 0
    assert f"cd {folder.name} && python -m pip install -e '.[test]'" in out
    run_python(folder, "ruff", "check", ".")
    run_python(folder, "ruff", "format", "--check", ".")
    settings = tmp_path / "mypy.ini"  # torch takes most of a minute, and is Any to the plugin
    settings.write_text("[mypy]\nstrict = true\n[mypy-torch.*]\nfollow_imports = skip\n")
    run_python(folder, "mypy", "--config-file", str(settings), "autotune_low_rank")
    run_python(folder, "pytest", "-q", "-p", "no:cacheprovider", "-W", "error")


@pytest.mark.slow
def test_value_of_the_new_plugin_is_tried_and_its_estimate_holds(
    autotune: Callable[..., Any],
    install: Callable[[Path, Path], Path],
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "made"
    assert autotune("plugins", "new", "low_rank", "--directory", folder).returncode == 0
    site = install(folder, tmp_path / "site")
    done = autotune("plugins", "check", "low_rank", "--model", tiny_model, plugins=[site])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 ok" in done.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LowRank", "no name for a plugin: 'LowRank'; allowed: lower case letters"),
        ("2bit", "no name for a plugin"),
        ("low-rank", "no name for a plugin"),
        ("class", "no keyword of Python"),
        ("../escape", "no name for a plugin"),
        ("batch", "already a plugin named 'batch', from autotune "),
        ("plugins", "already a package named autotune_plugins"),
        ("taken", "autotune-taken exists already; name another folder with --directory"),
    ],
)
def test_wrong_name_is_refused(run_main: RunMain, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "autotune-taken").mkdir()
    code, _, said = run_main("plugins", "new", name)
    assert code == 2
    assert words in said
    assert is_explained(said)
    assert [path.name for path in tmp_path.iterdir()] == ["autotune-taken"]


def test_folder_that_cannot_be_made_is_refused(run_main: RunMain) -> None:
    code, _, said = run_main("plugins", "new", "mine", "--directory", "/proc/nowhere/mine")
    assert code == 2
    assert "/proc/nowhere/mine cannot be written" in said

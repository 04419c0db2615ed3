from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import typer
from typer.testing import CliRunner

from autotune.cli import demo_model as command
from autotune.demo import cache, child
from autotune.demo.blueprint import REPORT_NAME, DemoModelReport, staging_directory
from autotune.demo.child import train_in_child
from autotune.errors import AutotuneError, InputError
from autotune.workload.paths import CACHE_VARIABLE


def test_train_in_child_reports_what_it_saved(tiny_model: Path) -> None:
    report = DemoModelReport.read(tiny_model)

    assert report.size == "tiny"
    assert report.steps > 0
    assert 1 < report.heldout_perplexity < report.unigram_perplexity


def test_train_in_child_relays_progress_that_never_falls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
print('{"fraction": 0.2, "message": "a"}')
print("noise")
print("5")
print('{"fraction": 0.9, "message": "b"}')
"""
    told: list[tuple[float, str]] = []
    monkeypatch.setattr(child, "_start", _starter(program))

    with pytest.raises(FileNotFoundError, match=REPORT_NAME):
        train_in_child(tmp_path / "model", "tiny", lambda *told_now: told.append(told_now))

    assert told == [(0.2, "a"), (0.9, "b")]


def test_train_in_child_killed_midway_leaves_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "model"

    def kill_once_training(fraction: float, message: str) -> None:
        if message.startswith("step"):
            os.kill(_only_child(), signal.SIGKILL)

    with pytest.raises(AutotuneError, match="signal 9"):
        train_in_child(directory, "tiny", kill_once_training)

    assert list(tmp_path.iterdir()) == []


def test_train_in_child_interrupted_ends_the_child(tmp_path: Path) -> None:
    directory = tmp_path / "model"
    processes: list[int] = []

    def interrupt(fraction: float, message: str) -> None:
        processes.append(_only_child())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_in_child(directory, "tiny", interrupt)

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(processes[0], 0)


def test_train_in_child_clears_a_half_written_staging_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = tmp_path / "model"
    program = f"""
import os, pathlib, sys
staging = pathlib.Path({str(tmp_path)!r}, f".model.{{os.getpid()}}.partial")
staging.mkdir()
(staging / "model.safetensors").write_text("half")
sys.exit("the disk is full")
"""
    monkeypatch.setattr(child, "_start", _starter(program))

    with pytest.raises(AutotuneError, match=r"exit code 1.*\n.*the disk is full"):
        train_in_child(directory, "tiny")

    assert staging_directory(directory, 7) == tmp_path / ".model.7.partial"
    assert list(tmp_path.iterdir()) == []


def test_train_in_child_unknown_size_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'small'"):
        train_in_child(tmp_path / "model", "smal")


def test_train_in_child_refuses_a_directory_in_use(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()

    with pytest.raises(InputError, match="is not empty"):
        train_in_child(tmp_path, "tiny")

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_train_in_child_refuses_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model"
    file.touch()

    with pytest.raises(InputError, match="is a file"):
        train_in_child(file, "tiny")
    with pytest.raises(InputError, match="give a directory inside one that can be"):
        train_in_child(file / "below", "tiny")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_train_in_child_refuses_a_parent_without_permission(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)

    with pytest.raises(InputError, match="give a directory inside one that can be"):
        train_in_child(locked / "model", "tiny")


def test_demo_model_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Path] = []

    def pretend(directory: Path, size: str, progress: object) -> None:
        directory.mkdir()
        (directory / REPORT_NAME).touch()
        trained.append(directory)

    monkeypatch.setattr(cache, "train_in_child", pretend)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    assert cache.demo_model("tiny") == cache.demo_model("tiny") == trained[0]
    assert len(trained) == 1
    assert trained[0].parent == tmp_path / "cache"


def test_demo_model_cache_that_cannot_be_written_says_what_helps(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()

    with pytest.raises(InputError, match=r"AUTOTUNE_CACHE_DIR.*autotune demo-model DIR"):
        cache.demo_model("tiny", cache=tmp_path / "cache")


def test_demo_model_unknown_size_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no demo model size named 'huge'"):
        cache.demo_model("huge", cache=tmp_path / "cache")

    assert list(tmp_path.iterdir()) == []


def test_command_ends_with_perplexities_and_the_next_command(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = DemoModelReport.read(tiny_model)
    monkeypatch.setattr(command, "train_in_child", lambda *_, **__: report)
    app = typer.Typer()
    app.command()(command.demo_model)

    told = CliRunner().invoke(app, [str(tmp_path / "my model"), "--size", "tiny"])
    as_json = CliRunner().invoke(app, [str(tmp_path / "my model"), "--size", "tiny", "--json"])

    assert f"{report.heldout_perplexity:.1f}" in told.stdout
    assert f"{report.unigram_perplexity:.1f}" in told.stdout
    assert f"autotune search --model '{tmp_path}/my model'" in told.stdout
    assert json.loads(as_json.stdout) == vars(report)


def test_parent_side_imports_neither_torch_nor_transformers() -> None:
    program = (
        "import sys, autotune.demo.cache, autotune.cli.demo_model\n"
        "sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def _only_child() -> int:
    """The training process; a server of other tests may be there too."""
    children = psutil.Process().children()
    (found,) = [c.pid for c in children if "autotune.demo" in " ".join(c.cmdline())]
    return found


def _starter(program: str) -> object:
    def start(directory: Path, size: str, seed: int, complaints: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", program]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints)

    return start

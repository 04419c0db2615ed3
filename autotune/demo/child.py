"""Trains the demo model in a process of its own, so that this one never imports torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from autotune.demo.blueprint import DemoModelReport, check_request, staging_directory
from autotune.errors import AutotuneError

Progress = Callable[[float, str], None]

_SHOWN_LINES = 5


def train_in_child(
    directory: Path,
    size: str = "small",
    progress: Progress | None = None,
    *,
    seed: int = 0,
) -> DemoModelReport:
    """Trains a demo model in a child process and waits for it.

    Whatever ends this function early, an interrupt included, ends the child as well and leaves
    nothing half-made.

    Args:
        directory: New or empty; appears at the end, complete.
        size: A name in `BLUEPRINTS`.
        progress: Called in this process with the fraction done, 0 to 1, and one line of text.
        seed: Of the weights and of the order of the text.

    Raises:
        InputError: The request was refused; nothing was started.
        AutotuneError: The child failed; carries the last lines that it wrote.
    """
    directory = directory.absolute()
    check_request(directory, size)
    with tempfile.TemporaryFile() as complaints:
        child = _start(directory, size, seed, complaints)
        try:
            _relay(child, progress)
            exit_code = child.wait()
        finally:
            _end(child, directory)
        if exit_code:
            raise AutotuneError(_failure(exit_code, complaints))
    return DemoModelReport.read(directory)


def _start(
    directory: Path, size: str, seed: int, complaints: IO[bytes]
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "autotune.demo", str(directory), "--size", size]
    return subprocess.Popen(
        [*command, "--seed", str(seed), "--progress"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=complaints,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def _relay(child: subprocess.Popen[bytes], progress: Progress | None) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        try:
            told = json.loads(line)
        except ValueError:
            continue  # a library wrote to standard output
        if progress and isinstance(told, dict) and "fraction" in told:
            progress(told["fraction"], told["message"])


def _end(child: subprocess.Popen[bytes], directory: Path) -> None:
    if child.poll() is None:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()
    shutil.rmtree(staging_directory(directory, child.pid), ignore_errors=True)


def _failure(exit_code: int, complaints: IO[bytes]) -> str:
    complaints.seek(0)
    lines = complaints.read().decode(errors="replace").splitlines()[-_SHOWN_LINES:]
    reason = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
    return "\n".join([f"training the demo model failed ({reason}); nothing was saved", *lines])

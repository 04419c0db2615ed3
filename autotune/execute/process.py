"""How a bench process begins: its environment, and a new interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Protocol


class Process(Protocol):
    """What of ``subprocess.Popen`` a bench session uses."""

    pid: int
    returncode: int | None

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where requests go."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """Where replies come from."""

    def wait(self, timeout: float | None = None) -> int:
        """
        Returns:
            The exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """


Start = Callable[[Path, Mapping[str, str]], Process]
"""Begins a bench process in a session of its own, given its log and its whole environment."""


def spawn(log: Path, environment: Mapping[str, str]) -> Process:
    """A ``python -m autotune.bench`` in a new interpreter, which begins with its imports; ``-P``
    keeps those of the current folder out.

    The kernel kills it when the thread that began it ends.
    """
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "autotune.bench"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            env=environment,
            start_new_session=True,
        )


def bench_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a bench process.

    Args:
        extra: What a recipe and a device add.
    """
    return {
        **os.environ,
        "AUTOTUNE_PARENT_PID": str(os.getpid()),
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **extra,
    }

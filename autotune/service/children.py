"""The processes that run studies: started, found again after a restart, and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from autotune.execute.fleet.settings import BROKER, DATABASE
from autotune.service.settings import ServiceSettings

STUDY_FILE = "study.yaml"
LOG_FILE = "search.log"
_TAIL_BYTES = 4096
_ERROR = "\nerror: "


class Child:
    """One process that runs a study: ours, or one that an earlier service started."""

    def __init__(self, process: psutil.Process, exit_code: Callable[[], int | None]) -> None:
        self._process = process
        self._exit_code = exit_code

    @property
    def process_id(self) -> int:
        """Its number."""
        return self._process.pid

    def is_running(self) -> bool:
        """Whether it has not ended."""
        if self._exit_code() is not None:
            return False
        try:
            return self._process.is_running() and self._process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def exit_code(self) -> int | None:
        """How it ended; None where nobody can know, because it was not our child."""
        return self._exit_code()

    def interrupt(self) -> None:
        """Stops it as Ctrl-C does: finished trials stay."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGTERM)


class Children:
    """Starts and finds the processes of one service."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings

    def folder(self, study: str) -> Path:
        """Where everything of a study is. The study file's pattern for names keeps it in there."""
        return self._settings.directory / study

    def start(self, study: str, definition: dict[str, Any], *, resume: bool) -> Child:
        """Starts the same command that a person would.

        It has its own session and writes into files: it outlives this service.

        Args:
            study: Its name.
            definition: The study file, its model a path.
            resume: Whether the study may exist.

        Raises:
            OSError: The folder or the process cannot be made.
        """
        folder = self.folder(study)
        folder.mkdir(parents=True, exist_ok=True)
        self._study_file(study).write_text(yaml.safe_dump(definition), encoding="utf-8")
        with (folder / LOG_FILE).open("wb") as log:
            started = subprocess.Popen(
                [*self._command(study), *(["--resume"] if resume else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                start_new_session=True,
            )
        return Child(psutil.Process(started.pid), started.poll)

    def find(self, study: str) -> Child | None:
        """The process that an earlier service started for a study, if it still runs."""
        command, me = self._command(study), os.getuid()
        for process in psutil.process_iter(["cmdline", "uids"]):
            uids = process.info["uids"]
            if (
                uids
                and uids.real == me
                and (process.info["cmdline"] or [])[: len(command)] == command
            ):
                return Child(process, lambda: None)
        return None

    def last_words(self, study: str) -> str:
        """The error with which a study's process ended; empty where it said none."""
        try:
            with (self.folder(study) / LOG_FILE).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                tail = log.read().decode("utf-8", "replace")
        except FileNotFoundError:
            return ""
        _, found, words = f"\n{tail}".rpartition(_ERROR)
        return words.strip() if found else ""

    def _study_file(self, study: str) -> Path:
        return self.folder(study) / STUDY_FILE

    def _command(self, study: str) -> list[str]:
        """Without URLs: they may hold passwords, and every process list shows arguments."""
        command = [sys.executable, "-m", "autotune.cli", "search"]
        command += ["--study", str(self._study_file(study))]
        return [*command, "--output", str(self._settings.directory)]

    def _environment(self) -> dict[str, str]:
        environment = {**os.environ, DATABASE: self._settings.database}
        environment.pop(BROKER, None)
        if self._settings.broker:
            environment[BROKER] = self._settings.broker
        return environment

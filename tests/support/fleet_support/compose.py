"""The services of docker-compose.yml as processes of this machine: the same commands and the same
environment, with local addresses in the place of the containers' names."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

FILE = Path(__file__).parents[3] / "docker-compose.yml"
AUTOTUNE = Path(sys.executable).with_name("autotune")


class Compose:
    """Reads the file, and starts its services.

    Args:
        folder: Their working directory.
        secrets: For ``${NAME:?…}``.
        places: What is replaced in environment and commands, e.g. ``redis:6379``.
    """

    def __init__(
        self, folder: Path, secrets: Mapping[str, str], places: Mapping[str, str]
    ) -> None:
        self._services: dict[str, dict[str, Any]] = yaml.safe_load(
            FILE.read_text(encoding="utf-8")
        )["services"]
        self._folder = folder
        self._secrets = secrets
        self._places = places

    def environment(self, service: str) -> dict[str, str]:
        """What the service finds in its environment."""
        given = self._services[service].get("environment", {})
        return {name: self._here(value) for name, value in given.items()}

    def command(self, service: str) -> list[str]:
        """The service's command line; images of ours begin with ``autotune``."""
        return [str(AUTOTUNE), *map(self._here, self._services[service]["command"])]

    def health_check(self, service: str) -> list[str]:
        """The command that asks whether the service is well."""
        kind, python, *rest = self._services[service]["healthcheck"]["test"]
        assert (kind, python) == ("CMD", "python")
        return [sys.executable, *map(self._here, rest)]

    def run(self, service: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """As ``docker compose run``: the service's command, or another one, to its end."""
        command = [str(AUTOTUNE), *arguments] if arguments else self.command(service)
        return subprocess.run(
            command,
            cwd=self._folder,
            env={**os.environ, **self.environment(service)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def start(self, service: str, log: IO[str]) -> subprocess.Popen[str]:
        """Begins a service; what it prints goes to ``log``."""
        return subprocess.Popen(
            self.command(service),
            cwd=self._folder,
            env={**os.environ, **self.environment(service)},
            stdout=log,
            stderr=log,
            text=True,
        )

    def is_well(self, service: str) -> bool:
        """Asks as Docker would."""
        asked: Sequence[str] = self.health_check(service)
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    def _here(self, text: str) -> str:
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda found: self._secrets[found[1]], text)
        for name, place in self._places.items():
            text = text.replace(name, place)
        return text

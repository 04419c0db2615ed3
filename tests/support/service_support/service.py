"""A real service in a process of its own, asked through real HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from autotune.store import Store
from autotune.store.tokens import Scope, Tokens
from fleet_support.servers import free_port, wait_for

AUTOTUNE = Path(sys.executable).with_name("autotune")


class Service:
    """One ``autotune serve``."""

    def __init__(self, folder: Path, database: str, *options: str) -> None:
        self.folder = folder
        self.database = database
        self.log = folder / "service.log"
        self.url = f"http://127.0.0.1:{free_port()}"
        self._options = options
        self._tokens: dict[str, str] = {}
        self.start()

    def start(self) -> None:
        command = [str(AUTOTUNE), "serve", "--port", self.url.rpartition(":")[2], *self._options]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={
                    **os.environ,
                    "AUTOTUNE_DATABASE_URL": self.database,
                    "HF_HUB_OFFLINE": "1",
                },
                stdout=log,
                stderr=log,
            )
        wait_for(self._is_up, 60, f"the service is up: {self.log.read_text()}")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz").is_success
        except httpx.TransportError:
            return False

    def token(self, scope: str, name: str = "") -> str:
        name = name or scope
        if name not in self._tokens:
            with Store.open(self.database) as store:
                self._tokens[name] = Tokens(store).create(name, Scope(scope))
        return self._tokens[name]

    def client(self, scope: str, name: str = "") -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token(scope, name)}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def logged(self) -> list[dict[str, Any]]:
        whole, _, _ = self.log.read_text().rpartition("\n")  # the last one may be half written
        return [json.loads(line) for line in whole.splitlines()]

    def kill(self) -> None:
        """As the kernel would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=30)


def events(client: httpx.Client, study: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What a study's stream says, as it says it."""
    with client.stream("GET", f"/v1/studies/{study}/events") as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in response.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield kind, json.loads(line.removeprefix("data: "))

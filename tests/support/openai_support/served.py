"""A dispatch table, and the server that real clients ask."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai

from autotune.config import StudyFile
from autotune.dispatch import Cell, DispatchTable, Point, write_table
from autotune.messages import Measurement, RecipeDict
from autotune.search.plan import make_plan
from fleet_support.servers import free_port, wait_for

KEY = "a secret"
NAME = "served"
TEXT = "The function returns a list of the names that"
LONG = 64
"""Tokens of a prompt that is served with drafts; one of 8 tokens is served plainly."""
RECIPES: dict[str, RecipeDict] = {
    "plain": {},
    "drafts": {"speculative": {"method": "prompt_lookup", "tokens": 4}},
}
CELLS = ((1, 8, "plain"), (3, 8, "plain"), (1, LONG, "drafts"))


def write_served(model: Path, folder: Path) -> Path:
    """A table for a model. Its numbers are made up: nothing here depends on them."""
    keys: dict[str, Any] = {
        "model": str(model),
        "device": "cpu",
        "workload": {"prompt_tokens": 8, "new_tokens": 16, "evaluation_positions": 256},
        "measure": {"block_seconds": 0.02, "warmup_blocks": 3},
    }
    study = StudyFile.model_validate({"name": NAME, **keys})
    plan = make_plan(study, folder, lambda *_: None, only={})
    points = tuple(
        Point(name=name, number=number, recipe=recipe, accuracy={})
        for number, (name, recipe) in enumerate(RECIPES.items())
    )
    cells = tuple(
        Cell(
            batch_size=size,
            prompt_tokens=length,
            measured={name: Measurement(value=1.0, unit="1/s")},
            failed={},
            chosen=name,
            ties=(),
        )
        for size, length, name in CELLS
    )
    table = DispatchTable(
        autotune_version="0",
        created_at=datetime.now(UTC),
        study=NAME,
        keys=keys,
        model_fingerprint=plan.model.fingerprint,
        environment=plan.environment,
        objective="output_tokens_per_second",
        unit="1/s",
        constraints=(),
        new_tokens=1024,
        points=points,
        cells=cells,
    )
    write_table(table, folder / "dispatch.json")
    return folder


class Served:
    """``python -m autotune.openai`` in a process of its own."""

    def __init__(self, folder: Path, log: Path, *options: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autotune.openai", folder, "--port", str(port), *options],
                env={**os.environ, "AUTOTUNE_API_KEY": KEY},
                stdout=stream,
                stderr=stream,
            )
        wait_for(self._is_up, 120, "the server is up")

    def _is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(f"{self.url}/health").is_success
        except httpx.TransportError:
            return False

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=120)

    def ask(self, path: str, body: object) -> httpx.Response:
        """As no well-behaved client would."""
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx.post(f"{self.url}{path}", content=content, headers=headers, timeout=60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

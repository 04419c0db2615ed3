"""A dispatch table, and the server that real clients ask."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from openai_support.served import Served, write_served


@pytest.fixture(scope="session")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy of the model that never ends an answer: what such a small one says is chance."""
    base = tmp_path_factory.mktemp("served")
    model = shutil.copytree(tiny_model, base / "model")
    file = model / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "eos_token_id": []}))
    return write_served(model, base)


@pytest.fixture(scope="session")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(folder, tmp_path_factory.mktemp("log") / "log")
    yield made
    made.close()


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with served.client() as made:
        yield made

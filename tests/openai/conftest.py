"""A dispatch table, and the server that real clients ask."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from transformers import AutoTokenizer

from openai_support.served import Served, write_served


@pytest.fixture(scope="session")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_served(tiny_model, tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def ending_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the model that takes its most frequent word for the end of an answer."""
    copy = tmp_path_factory.mktemp("ending") / "model"
    shutil.copytree(tiny_model, copy)
    file = copy / "generation_config.json"
    given = json.loads(file.read_text())
    (comma,) = AutoTokenizer.from_pretrained(copy)(",")["input_ids"]
    file.write_text(json.dumps({**given, "eos_token_id": [1, comma]}))
    return copy


@pytest.fixture(scope="session")
def served(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(folder, tmp_path_factory.mktemp("log") / "log")
    yield made
    made.close()


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    with served.client() as made:
        yield made

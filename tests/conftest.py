from __future__ import annotations

import os
from pathlib import Path

import pytest

from autotune.demo.child import train_in_child


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model really trained for about ten seconds; AUTOTUNE_TEST_MODEL names one to reuse."""
    reused = os.environ.get("AUTOTUNE_TEST_MODEL")
    if reused:
        return Path(reused)
    directory = tmp_path_factory.mktemp("demo") / "tiny"
    train_in_child(directory, "tiny")
    return directory

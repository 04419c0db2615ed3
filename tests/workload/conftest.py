from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

CONFIG = {"architectures": ["LlamaForCausalLM"], "hidden_size": 8}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The least that is a checkpoint."""
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    save_file({"model.weight": np.zeros((8, 8), np.float32)}, directory / "model.safetensors")
    return directory

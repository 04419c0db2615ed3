from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

QUICK = {
    "workload": {
        "prompt_tokens": 16,
        "new_tokens": 4,
        "evaluation_positions": 256,
        "evaluation_window_tokens": 64,
        "calibration_sequences": 4,
    },
    "measure": {
        "block_seconds": 0.02,
        "max_pairs": 6,
        "warmup_blocks": 3,
        # Such short blocks would all be of grade C.
        "worst_half_width_ratio": 1000,
        "worst_contention_ratio": 1,
    },
    "confirm": {"processes": 0},
}
"""Enough to go through every phase, not enough to trust the numbers."""

WriteStudy = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path, tiny_model: Path) -> WriteStudy:
    """Writes a study file of the tiny model."""

    def write(**keys: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "model": str(tiny_model), **QUICK, **keys}))
        return path

    return write

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.config import StudyFile
from autotune.search.plan import Plan, make_plan
from export_support import MakePlan


@pytest.fixture
def plan_of(tiny_model: Path, tmp_path: Path) -> MakePlan:
    """The plan of a study for one recipe, of the tiny model unless another is named."""

    def make(recipe: dict[str, Any], model: Path = tiny_model) -> Plan:
        study = {
            "name": "s",
            "model": str(model),
            "device": "cpu",
            "workload": {
                **{"prompt_tokens": 16, "new_tokens": 4, "evaluation_positions": 64},
                **{"evaluation_window_tokens": 32, "calibration_sequences": 4},
            },
            "measure": {"block_seconds": 0.02, "max_pairs": 6, "warmup_blocks": 3},
        }
        return make_plan(StudyFile.model_validate(study), tmp_path, lambda *_: None, only=recipe)

    return make

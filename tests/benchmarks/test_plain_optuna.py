"""The script that autotune is compared with: what it measures is what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from autotune.config import WorkloadFile
from autotune.workload.text import read_texts
from benchmarks.plain_optuna import SPACE

SCRIPT = Path(__file__).parents[2] / "benchmarks/plain_optuna.py"


def run(model: Path, log: Path, *options: str) -> str:
    text = read_texts(WorkloadFile())[0][0]
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--text", str(text)]
    done = subprocess.run(
        [*command, "--log", str(log), *options], check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.slow
def test_each_trial_is_a_full_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    run(tiny_model, log, "--trials", "1", "--seed", "0")
    (first,) = [json.loads(line) for line in log.read_text().splitlines()]
    original = {name: values[0] for name, values in SPACE.items()}
    assert first["params"] == original
    assert first["values"][2] == pytest.approx(0, abs=1e-6)
    changed: dict[str, Any] = original | {
        "precision.dtype": "bfloat16",
        "quantize.scheme": "int8_weight_only",
        "prune.method": "structured",
        "cache.kind": "static",
    }
    values = json.loads(run(tiny_model, log, "--measure", json.dumps(changed)).splitlines()[-1])
    assert values[2] > 0.001
    deeper = original | {"prune.method": "depth", "cache.kind": "static"}
    shorter = json.loads(run(tiny_model, log, "--measure", json.dumps(deeper)).splitlines()[-1])
    assert shorter[2] > values[2], "half of the layers, with a static cache"

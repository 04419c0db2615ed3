"""Trials of a real model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune import registry
from autotune.config import WorkloadFile
from autotune.device import detect
from autotune.measure_settings import MeasureSettings
from autotune.messages import TrialSpec
from autotune.recipe import Recipe, keys
from autotune.workload.model import resolve
from autotune.workload.text import build_workload

MakeSpec = Callable[..., TrialSpec]


@pytest.fixture(scope="module")
def make_spec(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> MakeSpec:
    folder = tmp_path_factory.mktemp("slot")
    model = resolve(str(tiny_model))
    workload = build_workload(
        WorkloadFile(
            prompt_tokens=16,
            new_tokens=4,
            evaluation_positions=256,
            evaluation_window_tokens=64,
            calibration_sequences=4,
        ),
        model,
        0,
    )
    installed = registry.installed()

    def make(number: int = 0, chosen: Any = None, **fields: Any) -> TrialSpec:
        recipe = Recipe.of(chosen or {}, installed.plugins)
        identity = keys(recipe, installed.plugins, installed.distributions)
        return TrialSpec(
            study="s",
            number=number,
            recipe=recipe.to_dict(),
            recipe_key=identity.recipe_key,
            setup_key=identity.setup_key,
            output_key=identity.output_key,
            model=model,
            workload=workload,
            device=detect("cpu"),
            settings=MeasureSettings(block_seconds=0.02, max_pairs=6, warmup_blocks=3),
            directory=str(folder),
            cache_directory=str(folder / "cache"),
            **fields,
        )

    return make

"""The name of a kept file stands for what the weights depend on, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autotune.bench.artifacts import artifact_file, own_artifact_file
from autotune.params import Scalar
from autotune.testing import fake_spec
from autotune_plugins import PLUGINS

BY_NAME = {plugin.name: plugin() for plugin in PLUGINS}
BASE: dict[str, dict[str, Scalar]] = {
    "distill": {"train": "full", "steps": 100},
    "prune": {"method": "depth", "ratio": 0.3},
}


def file_of(recipe: dict[str, dict[str, Scalar]] | None = None, **changes: Any) -> Path:
    spec = fake_spec(0, {**BASE, **(recipe or {})}).model_copy(update=changes)
    return artifact_file(spec, "distill", BY_NAME)


def test_file_lies_in_the_cache_folder() -> None:
    assert file_of().parent == Path("/nowhere/artifacts")
    assert file_of().name.startswith("distill-")
    assert file_of() == file_of(number=3, study="another", output_key="0" * 16)


@pytest.mark.parametrize(
    "later",
    [
        {"quantize": {"scheme": "int8_weight_only"}},
        {"batch": {"size": 8}},
        {"attention": {"kernel": "eager"}},
        {"compile": {"mode": "default", "shapes": "static"}},
    ],
)
def test_what_comes_later_or_changes_no_output_shares_the_file(
    later: dict[str, dict[str, Scalar]],
) -> None:
    assert file_of(later) == file_of()


@pytest.mark.parametrize(
    "earlier",
    [
        {"prune": {"method": "depth", "ratio": 0.5}},
        {"distill": {"train": "full", "steps": 200}},
        {"precision": {"dtype": "bfloat16"}},
    ],
)
def test_what_came_before_has_a_file_of_its_own(
    earlier: dict[str, dict[str, Scalar]],
) -> None:
    assert file_of(earlier) != file_of()


def test_seed_model_and_calibration_text_have_files_of_their_own() -> None:
    spec = fake_spec()
    others = {
        file_of(),
        file_of(seed=1),
        file_of(model=spec.model.model_copy(update={"fingerprint": "9" * 64})),
        file_of(workload=spec.workload.model_copy(update={"calibration_sha256": "9" * 64})),
    }
    assert len(others) == 4


def test_what_is_made_of_the_original_does_not_depend_on_the_recipe() -> None:
    def own(tokens: int, layers: float, **other: dict[str, Scalar]) -> Path:
        params = {"method": "assistant", "tokens": tokens, "assistant_layers": layers}
        spec = fake_spec(0, {**other, "speculative": params})
        return own_artifact_file(spec, "speculative", BY_NAME)

    assert own(4, 0.25) == own(8, 0.25, prune={"method": "depth", "ratio": 0.3})
    assert own(4, 0.25) != own(4, 0.5)

"""What was tried is kept at once, and found again for the same model and machine only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from autotune import registry
from autotune.cli.tried_file import TriedFile
from autotune.config import StudyFile
from autotune.errors import InputError
from autotune.recipe import Recipe
from autotune.search.check import Choice, Tried, Verdict
from autotune.search.plan import Plan, make_plan

CHOICE = Choice("batch", Recipe.from_dict({"batch": {"size": 4}}))
OTHER = Choice("batch", Recipe.from_dict({"batch": {"size": 8}}))
TRIED = Tried(
    "batch",
    {"size": 4},
    Verdict.FELL_BACK,
    "why",
    ratios={"weights_bytes": 1.0},
    accuracy={"x": 2},
)


@pytest.fixture
def plan(tiny_model: Path, tmp_path: Path) -> Plan:
    study = StudyFile(model=str(tiny_model), name="check", device="cpu")
    made = make_plan(study, tmp_path / "studies", lambda *_: None, only={})
    return replace(made, registry=registry.installed())


def test_what_was_tried_is_found_by_the_next_run(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "tried.jsonl"
    TriedFile(path).add(plan, CHOICE, TRIED)
    found = TriedFile(path)
    assert found.find(plan, CHOICE) == TRIED
    assert found.find(plan, OTHER) is None
    elsewhere = replace(plan, environment={**plan.environment, "torch": "0"})
    assert found.find(elsewhere, CHOICE) is None
    other = plan.model.model_copy(update={"fingerprint": "1" * 64})
    assert found.find(replace(plan, model=other), CHOICE) is None


def test_a_line_that_was_cut_short_is_tried_again(plan: Plan, tmp_path: Path) -> None:
    path = tmp_path / "tried.jsonl"
    file = TriedFile(path)
    file.add(plan, CHOICE, TRIED)
    file.add(plan, OTHER, TRIED)
    path.write_bytes(path.read_bytes()[:-9])  # killed while it wrote
    again = TriedFile(path)
    assert again.find(plan, OTHER) is None
    again.add(plan, OTHER, TRIED)
    assert TriedFile(path).find(plan, CHOICE) == TriedFile(path).find(plan, OTHER) == TRIED


def test_nothing_is_kept_without_a_file(plan: Plan) -> None:
    file = TriedFile(None)
    file.add(plan, CHOICE, TRIED)
    assert file.find(plan, CHOICE) is None


@pytest.mark.parametrize("content", ["no json\n", "[]\n", '{"key": "a", "tried": {"x": 1}}\n'])
def test_another_kind_of_file_is_left_alone(content: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(content)
    with pytest.raises(InputError, match=r"--keep: .* does not hold what an earlier check"):
        TriedFile(path)
    assert path.read_text() == content

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from autotune.dispatch import Cell, DispatchTable, Point, read_table, write_table
from autotune.dispatch.table import make_cell
from autotune.errors import InputError
from autotune.messages import Grade, Measurement, TrialResult
from autotune.outcome import Outcome

LATENCY, RATE = "e2e_latency_seconds", "output_tokens_per_second"


def trial(value: float | None, width: float = 0.0, **more: Any) -> TrialResult:
    grade = more.pop("grade", Grade.A)
    found = Measurement(value=value, unit="s", reason="why", grade=grade)
    if value is not None:
        found = found.model_copy(update={"ci_low": value - width, "ci_high": value + width})
    given = {"outcome": Outcome.OK, "metrics": {LATENCY: found, RATE: found}} | more
    return TrialResult(number=1, **given)


def cell(batch: int, prompt: int, chosen: str = "a") -> Cell:
    return Cell(
        batch_size=batch, prompt_tokens=prompt, measured={}, failed={}, chosen=chosen, ties=()
    )


def table(*cells: Cell) -> DispatchTable:
    return DispatchTable(
        autotune_version="0",
        created_at=datetime.now(UTC),
        study="s",
        keys={},
        model_fingerprint="f",
        environment={},
        objective=LATENCY,
        unit="s",
        constraints=(),
        new_tokens=16,
        points=tuple(Point(name=n, number=1, recipe={}, accuracy={}) for n in "abc"),
        cells=cells,
    )


def test_the_best_point_of_a_cell_is_chosen_by_the_direction_of_the_metric() -> None:
    results = {"a": trial(2.0), "b": trial(1.0), "c": trial(3.0)}
    assert make_cell(4, 32, LATENCY, results).chosen == "b"
    assert make_cell(4, 32, RATE, results).chosen == "c"


def test_points_whose_intervals_overlap_are_named() -> None:
    found = make_cell(1, 32, LATENCY, {"a": trial(1.0, 0.1), "b": trial(1.15, 0.1), "c": trial(2)})
    assert (found.chosen, found.ties) == ("a", ("b",))


def test_nothing_is_chosen_by_what_was_disturbed_failed_or_fell_back() -> None:
    results = {
        "disturbed": trial(0.1, grade=Grade.C),
        "fell back": trial(0.2, fallbacks=("asked for a, ran b",)),
        "crashed": trial(0.3, outcome=Outcome.CRASHED, explanation="boom"),
        "unmeasured": trial(None),
        "good": trial(9.0),
    }
    found = make_cell(1, 32, LATENCY, results)
    assert found.chosen == "good"
    assert set(found.measured) == {"disturbed", "good"}
    assert found.failed == {
        "fell back": "asked for a, ran b",
        "crashed": "crashed: boom",
        "unmeasured": "why",
    }
    alone = make_cell(1, 32, LATENCY, {"disturbed": results["disturbed"]})
    assert alone.chosen == ""


def test_a_request_goes_to_the_cell_that_is_nearest_by_ratios() -> None:
    made = table(cell(1, 32, "a"), cell(16, 32, "b"), cell(1, 512, "c"), cell(4, 512, ""))
    assert made.route(1, 32, 16).point.name == "a"
    assert made.route(3, 40, 16).point.name == "a"
    assert made.route(5, 40, 16).point.name == "b"
    assert made.route(4, 512, 16).point.name == "c"  # the nearest one has no point
    assert made.route(1, 127, 16).point.name == "a"
    assert made.route(1, 129, 16).point.name == "c"
    assert made.largest_batch == 16
    assert [point.name for point in made.served] == ["a", "b", "c"]


def test_what_lies_outside_is_said() -> None:
    made = table(cell(2, 32), cell(16, 128))
    assert made.route(2, 32, 16).outside == ""
    assert made.route(9, 100, 1).outside == ""
    assert made.route(1, 32, 16).outside == "a batch of 1, measured 2 to 16"
    assert made.route(32, 8, 99).outside == (
        "a batch of 32, measured 2 to 16; prompt tokens: 8, measured 32 to 128; "
        "new tokens: 99, measured 16"
    )


def test_a_table_without_a_choice_serves_nothing() -> None:
    with pytest.raises(InputError, match="no cell of this table has a point"):
        table(cell(1, 32, "")).route(1, 32, 16)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    made = table(make_cell(1, 32, LATENCY, {"a": trial(1.0, 0.1)}))
    write_table(made, tmp_path / "dispatch.json")
    for path in (tmp_path, tmp_path / "dispatch.json", tmp_path / "front.json"):
        assert read_table(path) == made


def test_without_a_table_nothing_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is measured, not guessed; run autotune dispatch"):
        read_table(tmp_path / "front.json")
    (tmp_path / "dispatch.json").write_text("{}")
    with pytest.raises(InputError, match="as a dispatch table"):
        read_table(tmp_path)

"""The report as Markdown, JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from itertools import pairwise

import pytest

from autotune.outcome import Outcome
from autotune.report.csv_file import csv_text
from autotune.report.json_file import ReportFile, report_file
from autotune.report.markdown_file import markdown_text
from autotune.report.summary import StudySummary, words


def rows_of(summary: StudySummary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(csv_text(summary))))


def test_csv_has_a_row_for_each_trial_with_every_value_and_interval(summary: StudySummary) -> None:
    rows = rows_of(summary)
    assert [int(row["trial"]) for row in rows] == [trial.number for trial in summary.trials]
    for trial, row in zip(summary.trials, rows, strict=True):
        assert row["recipe"] == words(trial)
        assert row["picks"].split() == summary.pick_names.get(trial.number, [])
        assert row["front"] == str(trial.number in summary.front_numbers).lower()
        assert row["quantize.scheme"] == str(trial.recipe.get("quantize", {}).get("scheme", ""))
        point = summary.by_number.get(trial.number)
        for kind in summary.columns:
            found = point.metrics[kind.name] if point else None
            told = [row[f"{kind.name}{end}"] for end in ("", "_low", "_high")]
            wanted = [found.value, found.low, found.high] if found else [None] * 3
            assert [float(text) if text else None for text in told] == wanted


@pytest.mark.parametrize(("state", "told"), [("running", "running"), ("finished", "not_finished")])
def test_a_trial_without_a_result_runs_only_while_somebody_runs_the_study(
    summary_of: Callable[[str], StudySummary], state: str, told: str
) -> None:
    found = summary_of("running")
    stands = StudySummary.of(found.study, found.trials, state)
    assert [row["outcome"] for row in rows_of(stands)] == [told]
    assert [trial.outcome for trial in report_file(stands).trials] == [told]


def test_csv_holds_no_formulas(summary: StudySummary) -> None:
    told = '=HYPERLINK("http://x")\n"quoted", more'
    failed = next(t for t in summary.trials if t.result and t.result.outcome is Outcome.CRASHED)
    assert failed.result is not None
    bad = failed.model_copy(
        update={"result": failed.result.model_copy(update={"explanation": told})}
    )
    others = [bad if t is failed else t for t in summary.trials]
    row = rows_of(StudySummary.of(summary.study, others))[failed.number]
    assert row["explanation"] == f"'{told}"


def test_json_holds_everything_and_reads_back(summary: StudySummary) -> None:
    made = report_file(summary)
    assert ReportFile.model_validate_json(made.model_dump_json()) == made
    assert len(made.trials) == len(summary.trials)
    for trial, point in ((made.trials[p.number], p) for p in summary.points):
        assert trial.metrics == point.metrics
        assert trial.feasible == point.feasible
    assert [t.number for t in made.trials if "fastest" in t.picks] == [
        summary.picks["fastest"].number
    ]
    assert made.explanation.effects
    assert list(made.progress) == ["trials", "minutes"]
    assert len(made.progress["trials"].y) == len(summary.points)
    minutes = made.progress["minutes"]
    assert all(a <= b for a, b in pairwise(minutes.x))
    assert all(a <= b for a, b in pairwise(minutes.y))


def test_every_key_of_the_json_is_documented(summary: StudySummary) -> None:
    schema = ReportFile.model_json_schema()
    named = {"ReportFile": schema, **{n: schema["$defs"][n] for n in ("Trial", "Progress")}}
    silent = [
        f"{name}.{key}"
        for name, part in named.items()
        for key, found in part["properties"].items()
        if not found.get("description")
    ]
    assert silent == []
    assert set(json.loads(report_file(summary).model_dump_json())) == set(schema["properties"])


def test_progress_over_time_follows_the_ends_of_trials(summary: StudySummary) -> None:
    first, last = summary.trials[1], summary.trials[-1]
    swapped = [
        t.model_copy(update={"finished_at": last.finished_at})
        if t is first
        else t.model_copy(update={"finished_at": first.finished_at})
        if t is last
        else t
        for t in summary.trials
    ]
    found = report_file(StudySummary.of(summary.study, swapped)).progress
    assert found["minutes"].y[-1] == pytest.approx(found["trials"].y[-1], rel=1e-5)
    assert found["minutes"].y != found["trials"].y


def test_markdown_is_ready_to_be_pasted(summary: StudySummary) -> None:
    text = markdown_text(summary)
    for title in ("### Picks", "### Front", "### What each plugin gave and cost", "### Failures"):
        assert title in text
    for point in summary.picks.values():
        assert f"| {point.number} |" in text
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 4
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1
    assert "kld\\_mean\\_nats\\<=0.05" in text
    assert "autotune reproduce tiny-llama_cpu TRIAL" in text


def test_markdown_shows_what_others_wrote_as_it_is(
    summary_of: Callable[[str], StudySummary],
) -> None:
    text = markdown_text(summary_of("hostile"))
    assert "<script>" not in text
    assert "\\<script\\>" in text
    failed = summary_of("hostile").trials[9]
    assert failed.result is not None
    told = "ask @everyone about #1 | *now*"
    bad = failed.model_copy(
        update={"result": failed.result.model_copy(update={"explanation": told})}
    )
    hostile = summary_of("hostile")
    shown = markdown_text(StudySummary.of(hostile.study, [*hostile.trials[:9], bad]))
    assert "@everyone" not in shown
    assert "#1" not in shown
    assert "\\| \\*now\\*" in shown


def test_every_format_is_made_in_any_condition(
    summary_of: Callable[[str], StudySummary], condition: str
) -> None:
    summary = summary_of(condition)
    assert len(rows_of(summary)) == len(summary.trials)
    assert len(report_file(summary).trials) == len(summary.trials)
    assert markdown_text(summary).startswith("## ")

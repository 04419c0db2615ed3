"""Console tables, front.json and the HTML report of a made-up study."""

from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs
from rich.console import Console, RenderableType

from autotune.bench.meters.tasks import score_metrics
from autotune.errors import InputError
from autotune.messages import TASK_RUN, BlockPair, Grade, Measurement, TaskScore, TrialResult
from autotune.metrics import METRICS
from autotune.outcome import Outcome
from autotune.report import console
from autotune.report.front_file import front_file, read_front, write_front
from autotune.report.html import render_html, write_html
from autotune.report.markdown_file import markdown_text
from autotune.report.summary import StudySummary, words
from autotune.report.tasks import task_rows
from autotune.store import StudyState, TrialRecord


def printed(table: RenderableType, width: int = 400) -> str:
    text = io.StringIO()
    Console(file=text, width=width).print(table)
    return text.getvalue()


def page(html: str) -> str:
    """The document without the chart library."""
    assert html.count(get_plotlyjs()) <= 1
    return html.replace(get_plotlyjs(), "")


def test_summary_computes_front_picks_and_progress(summary: StudySummary) -> None:
    assert summary.baseline is not None
    assert summary.baseline.number == 0
    assert len(summary.points) == 36
    assert {p.number for p in summary.picks.values()} <= summary.front_numbers
    assert set(summary.picks) == {
        "fastest",
        "smallest",
        "greenest",
        "most_accurate",
        "balanced",
    }
    assert len(summary.hypervolumes) == len(summary.points)
    assert summary.front[0] == summary.picks["fastest"]
    assert list(summary.failures) == [
        Outcome.OUT_OF_MEMORY,
        Outcome.UNSUPPORTED,
        Outcome.CRASHED,
    ]


def test_fallbacks_are_remarked_and_cost_the_pick(summary: StudySummary) -> None:
    told = "asked for dtype bfloat16, ran float32: <all>"
    number = summary.picks["fastest"].number
    (trial,) = (t for t in summary.trials if t.number == number)
    assert trial.result is not None
    marked = trial.model_copy(
        update={"confirmations": {1: trial.result.model_copy(update={"fallbacks": (told,)})}}
    )
    others = [marked if t is trial else t for t in summary.trials]
    found = StudySummary.of(summary.study, others)
    assert found.picks["fastest"].number != number
    assert "fallback: asked for dtype bfloat16, ran float32: \\u003call\\u003e" in render_html(
        found
    )
    (point,) = (p for p in front_file(found).front if p.number == number)
    assert point.fallbacks == (told,)


def test_front_table_has_a_row_per_recipe(summary: StudySummary) -> None:
    text = printed(console.front_table(summary))
    for point in summary.front:
        assert words(point) in text
    assert "[fastest]" in text
    assert "output tokens/s \N{UPWARDS ARROW}" in text


def test_ties_of_a_pick_are_said_everywhere(summary: StudySummary) -> None:
    pick, numbers = next(iter(summary.ties.items()))
    words = summary.ties_in_words(pick)
    assert words == "not to be told from " + ", ".join(f"#{number}" for number in numbers)
    assert words in printed(console.picks_table(summary))
    assert f"<small>{words}</small>" in render_html(summary)
    assert front_file(summary).ties[pick] == numbers


def test_picks_table_says_what_each_gains(summary: StudySummary) -> None:
    text = printed(console.picks_table(summary))
    for pick, point in summary.picks.items():
        assert pick.replace("_", " ") in text
        assert summary.against_baseline(point) in text


def test_failures_table_counts_and_explains(summary: StudySummary) -> None:
    text = printed(console.failures_table(summary))
    assert re.search(r"out of memory\s+2\s+.*2\.1 GiB more", text)
    assert "SIGSEGV in prepare" in text


def test_studies_table_counts_trials(summary: StudySummary) -> None:
    text = printed(
        console.studies_table(
            [summary.study],
            {"tiny-llama_cpu": {"ok": 30, "timeout": 2}},
            {"tiny-llama_cpu": "dead: nobody is left"},
        )
    )
    assert "nobody is left; --resume goes on" in " ".join(text.split())
    assert "32: 30 ok, 2 timeout" in text
    assert "0" in printed(
        console.studies_table([summary.study], {}, {summary.study.name: "finished"})
    )


def test_shorten_takes_the_first_line_that_says_something() -> None:
    assert console.shorten("\n  why \nmore") == "why"
    assert console.shorten("") == "no explanation"
    assert len(console.shorten("x" * 500)) == 160


def test_everything_renders_in_any_condition(
    summary_of: Callable[[str], StudySummary], condition: str, tmp_path: Path
) -> None:
    summary = summary_of(condition)
    for table in (console.front_table, console.picks_table, console.failures_table):
        printed(table(summary), width=60)
    assert summary.study.name in page(render_html(summary))
    written = write_front(summary, tmp_path / "front.json")
    assert read_front(tmp_path / "front.json") == written


def test_front_file_round_trips(summary: StudySummary, tmp_path: Path) -> None:
    path = tmp_path / "front.json"
    path.write_text("old")
    written = write_front(summary, path)
    assert read_front(path) == written
    assert [point.number for point in written.front] == [p.number for p in summary.front]
    assert written.picks["fastest"] == summary.picks["fastest"].number
    assert written.schema_version == 1
    assert 0 < written.hypervolume < 1
    assert list(tmp_path.iterdir()) == [path]


def test_front_file_schema_names_every_key(summary: StudySummary) -> None:
    keys = front_file(summary).model_dump(mode="json").keys()
    assert {"objectives", "constraints", "environment", "convergence_reason"} <= set(keys)


def test_front_file_errors_are_explained(summary: StudySummary, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_front(summary, tmp_path / "missing" / "front.json")
    (tmp_path / "front.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot read .*front\.json"):
        read_front(tmp_path / "front.json")


def test_html_shows_every_trial_pick_and_failure(summary: StudySummary) -> None:
    html = page(render_html(summary))
    for trial in summary.trials:
        assert words(trial) in html
    for point in summary.picks.values():
        assert summary.against_baseline(point) in html
    assert "2.1 GiB more" in html
    assert "energy is of the package" in html
    assert "transformers" in html


def test_html_loads_nothing_from_elsewhere(summary: StudySummary) -> None:
    html = page(render_html(summary))
    assert not re.search(r"""(src|href|action)\s*=\s*["']?\s*(https?:|//)""", html)
    assert "@import" not in html
    assert "url(" not in html
    assert "<link" not in html
    assert "default-src 'none'" in html


def test_html_escapes_what_users_wrote(summary_of: Callable[[str], StudySummary]) -> None:
    html = page(render_html(summary_of("hostile")))
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "<img" not in html
    assert "<lambda>" not in html


def test_html_takes_the_commands_it_is_given(summary: StudySummary, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_html(summary, path, commands=("autotune search --study mine.yaml",))
    assert "autotune search --study mine.yaml" in path.read_text(encoding="utf-8")
    assert "autotune pareto tiny-llama_cpu" in page(render_html(summary))


def test_reports_say_what_is_confirmed(summary: StudySummary) -> None:
    assert "not confirmed" in printed(console.front_table(summary))
    assert "None was measured again" in render_html(summary)
    speed = summary.objectives[0].name
    pair = BlockPair(candidate={speed: 2.0}, reference={speed: 1.0}, candidate_first=True)
    again = [
        trial.model_copy(
            update={"confirmations": {1: trial.result.model_copy(update={"blocks": (pair,)})}}
        )
        for trial in summary.trials
        if trial.result
    ]
    confirmed = StudySummary.of(summary.study, again)
    assert "confirmed in fresh processes (" in printed(console.front_table(confirmed))
    assert "measured again in fresh processes" in render_html(confirmed)
    assert not confirmed.is_confirming
    stopped = confirmed.study.model_copy(update={"state": StudyState.INTERRUPTED})
    halfway = StudySummary.of(stopped, [*again[:2], *summary.trials[2:]])
    assert "picks may change when it goes on" in " ".join(
        printed(console.front_table(halfway)).split()
    )
    assert "picks may change when it goes on with --resume</strong>" in render_html(halfway)
    running = confirmed.study.model_copy(update={"state": StudyState.RUNNING})
    assert "until that is over, picks may change</strong>" in render_html(
        StudySummary.of(running, halfway.trials)
    )
    assert "among the confirmed" not in halfway.ties_in_words("fastest")


def test_reports_say_what_bounds_a_trial_where_the_roof_was_measured(
    summary: StudySummary,
) -> None:
    assert "bound by" not in render_html(summary) + printed(console.picks_table(summary))
    assert "How far from the roof" not in render_html(summary)
    assert {point.bounds for point in front_file(summary).front} == {""}

    found = StudySummary.of(summary.study, [_with_roof(t) for t in summary.trials])
    told = "compute (62 %) in prefill; memory bandwidth (71 %) in decode"
    assert f"bound by {told}" in printed(console.picks_table(found))
    html = page(render_html(found))
    assert html.count(f"bound by {told}") == len(found.points)
    assert "float32 matmul rate 170 GFLOP/s, copy rate 29.5 GB/s, last-level cache 32.0" in html
    assert {point.bounds for point in front_file(found).front} == {told}


def _with_roof(trial: TrialRecord) -> TrialRecord:
    if not trial.result or not trial.result.metrics:
        return trial
    own = {
        "ttft_seconds": 0.1,
        "model_flops_utilization": 0.62,
        "prompt_bandwidth_utilization": 0.1,
        "decode_flops_utilization": 0.02,
        "bandwidth_utilization": 0.714,
    }
    if not trial.recipe:
        own |= {
            "roof_float32_flops_per_second": 170.2e9,
            "roof_copy_bytes_per_second": 29.5e9,
            "roof_cache_bytes": 32 << 20,
        }
    more = {name: Measurement(value=v, unit=METRICS[name].unit) for name, v in own.items()}
    result = trial.result.model_copy(update={"metrics": trial.result.metrics | more})
    return trial.model_copy(update={"result": result})


def test_tasks_are_shown_everywhere(summary: StudySummary) -> None:
    counts = {0: (None, None), summary.front[0].number: (3, 9)}
    judged = []
    for trial in summary.trials:
        if trial.number in counts:
            gained, lost = counts[trial.number]
            score = TaskScore(name="quiz <1>", n=50, correct=30, gained=gained, lost=lost)
            run = TrialResult(
                number=trial.number,
                outcome=Outcome.OK,
                metrics=score_metrics([score]),
                tasks=(score,),
            )
            trial = trial.model_copy(update={"confirmations": {TASK_RUN: run}})
        judged.append(trial)
    shown = StudySummary.of(summary.study, judged)

    assert shown.columns[-1].name == "task_accuracy"
    assert "task_accuracy" not in {kind.name for kind in summary.columns}
    (point,) = (p for p in shown.front if p.tasks)
    assert "(\N{MINUS SIGN}12 points, within 1 % not demonstrated, n=50)" in (
        shown.against_baseline(point)
    )
    rows = task_rows(shown)
    assert [row.number for row in rows] == [0, point.number]
    assert rows[1].cells == ("quiz <1>", "50", "30 (60.0 %)", "3", "9", "0.15")
    assert "quiz <1>" in printed(console.tasks_table(shown))
    html = page(render_html(shown))
    assert "quiz &lt;1&gt;" in html
    assert "McNemar" in html
    assert "McNemar" not in page(render_html(summary))
    (kept,) = (p.tasks for p in front_file(shown).front if p.tasks)
    assert kept == point.tasks


def test_front_that_is_empty_says_which_constraints_are_in_the_way(summary: StudySummary) -> None:
    stopped = [
        t.model_copy(update={"result": t.result.model_copy(update={"outcome": "infeasible"})})
        for t in summary.trials
        if t.result and t.result.outcome is Outcome.OK
    ]
    text = printed(console.front_table(StudySummary.of(summary.study, stopped)))
    assert "no recipe that was measured keeps every constraint: kld_mean_nats<=0.05" in text


def test_disturbed_baseline_is_said_everywhere(summary: StudySummary) -> None:
    warning = "the baseline was too disturbed (grade C)"
    assert warning not in printed(console.front_table(summary)) + page(render_html(summary))
    assert summary.baseline is not None
    name = summary.study.objectives[0]
    spoilt = {name: summary.baseline.metrics[name].model_copy(update={"grade": Grade.C})}
    baseline = dataclasses.replace(summary.baseline, metrics=summary.baseline.metrics | spoilt)
    doubtful = dataclasses.replace(summary, baseline=baseline)
    assert warning in printed(console.front_table(doubtful))
    assert warning in page(render_html(doubtful))
    assert "(C) after one that was too disturbed" in page(render_html(summary))


def test_pick_that_is_missing_is_explained(summary: StudySummary) -> None:
    assert summary.unpicked_in_words == ""
    speed = summary.study.objectives[0]
    spoilt = tuple(
        dataclasses.replace(
            one,
            metrics=one.metrics
            | {speed: one.metrics[speed].model_copy(update={"grade": Grade.C})},
        )
        for one in summary.front
    )
    left = set(summary.picks) - {"fastest", "balanced"}
    others = {name: point for name, point in summary.picks.items() if name in left}
    poor = dataclasses.replace(summary, front=spoilt, picks=others)
    words = f"No fastest: {speed} is of grade C (disturbed) wherever it was measured."
    assert poor.unpicked_in_words.endswith(
        "No balanced: each recipe has an objective of grade C (disturbed)."
    )
    assert words in " ".join(printed(console.picks_table(poor)).split())
    assert words in render_html(poor)
    assert f"No fastest: {speed}" in markdown_text(poor).replace("\\_", "_")
    with pytest.raises(InputError, match=r"no pick 'fastest' \(best value of .*: .* of grade C"):
        dataclasses.replace(poor, points=spoilt).choose("fastest")


def test_what_repeats_is_said_beside_the_numbers(summary: StudySummary) -> None:
    assert summary.traffic == ""
    traffic = {"requests": 8, "repeat_ratio": 0.5, "new_tokens_spread_ratio": 0.25}
    workload = {"prompt_tokens": 16, "new_tokens": 4, "traffic": traffic}
    definition = {**summary.study.definition, "workload": workload}
    changed = summary.study.model_copy(update={"definition": definition})
    repeating = StudySummary.of(changed, summary.trials)
    words = "8 requests, prompts of 16 tokens, answers of 3 to 5, 50% repeat an earlier one"
    assert repeating.traffic == front_file(repeating).traffic == words
    assert words in " ".join(printed(console.front_table(repeating)).split())
    assert f"Each served the same traffic: {words}." in render_html(repeating)


def test_head_says_how_long_prompts_and_answers_were(summary: StudySummary) -> None:
    workload = {"workload": {"prompt_tokens": 256, "new_tokens": 48}}
    changed = summary.study.model_copy(update={"definition": summary.study.definition | workload})
    page = render_html(StudySummary.of(changed, summary.trials, "dead: nobody is left"))
    assert "Each served prompts of 256 tokens and answers of 48." in page
    assert "autotune study · dead: nobody is left ·" in page

"""What commands print while they work."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.text import Text

from autotune.execute.racing import ENDED_EARLY
from autotune.launch.demo_progress import training_bar
from autotune.launch.heartbeat import Heartbeat
from autotune.launch.live import LiveDisplay, _line
from autotune.messages import Grade, Measurement, Progress
from autotune.outcome import Outcome
from autotune.report.summary import StudySummary
from autotune.store.records import StudyRecord, StudyState, TrialRecord
from autotune.testing import fake_result, fake_spec


def study_of(*objectives: str) -> StudyRecord:
    """A study that runs, as far as it is shown."""
    return StudyRecord.model_construct(
        state=StudyState.RUNNING, objectives=objectives, constraints=()
    )


def test_training_prints_a_line_for_every_tenth_where_nothing_can_be_redrawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with training_bar() as update:
        for step in range(201):
            update(step / 200, f"step {step}")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"training the demo model: {10 * i} % (step {20 * i})" for i in range(11)]


@pytest.fixture
def display() -> tuple[LiveDisplay, Callable[[], str]]:
    """A display on a file, and what was written there."""
    written = io.StringIO()
    return LiveDisplay(Console(file=written, width=140)), written.getvalue


def test_search_with_nothing_to_do_says_so(
    display: tuple[LiveDisplay, Callable[[], str]],
) -> None:
    shown, text = display
    shown.on_stopped("budget: 5 trials", 0)
    assert "nothing to do: budget: 5 trials" in text()
    assert "--trials" in text()


def test_search_that_ran_does_not(display: tuple[LiveDisplay, Callable[[], str]]) -> None:
    shown, text = display
    shown.on_stopped("budget: 5 trials", 5)
    assert text() == ""


def test_repetitions_are_counted_where_nothing_can_be_redrawn(
    display: tuple[LiveDisplay, Callable[[], str]],
) -> None:
    shown, text = display
    shown.on_confirming(8)
    for left in range(7, -1, -1):
        shown.on_confirmed(fake_result(fake_spec(1)), left)
    first, *lines = text().splitlines()
    assert first == "confirming the result in fresh processes: 8 repetitions"
    counted = [f"confirming: {done} of 8 repetitions done" for done in (2, 4, 6, 8)]
    left = [", about 0 s left"] * 3 + [""]
    assert lines == [one + other for one, other in zip(counted, left, strict=True)]


def test_fallback_is_shown_with_its_trial() -> None:
    result = fake_result(fake_spec(0), weights_bytes=1.0)
    result = result.model_copy(update={"fallbacks": ("asked for dtype x, ran y: [all]",)})
    trial = TrialRecord.model_construct(number=0, recipe={}, confirmations={}, result=result)
    summary = StudySummary.of(study_of("weights_bytes"), [trial])
    line = Text.from_markup(_line(trial, summary, False)).plain
    assert line.endswith("fallback: asked for dtype x, ran y: [all]")


def test_trial_that_a_rival_has_ended_says_so() -> None:
    result = fake_result(fake_spec(0), weights_bytes=1.0)
    note = f"{ENDED_EARLY} after 7 pairs: trial 3 is at least as good in everything"
    result = result.model_copy(update={"notes": ("something else", note)})
    trial = TrialRecord.model_construct(number=0, recipe={}, confirmations={}, result=result)
    summary = StudySummary.of(study_of("weights_bytes"), [trial])
    line = Text.from_markup(_line(trial, summary, False)).plain
    assert line.endswith(note)
    assert "something else" not in line


@pytest.mark.parametrize(
    ("seconds", "lines"), [(0.0, ["#3 is being measured (pair 2)"]), (60.0, [])]
)
def test_heartbeat_says_the_phase_once_it_was_silent_for_long(
    seconds: float, lines: list[str]
) -> None:
    written = io.StringIO()
    heart = Heartbeat(Console(file=written), seconds)
    heart.beat(Progress(number=3, phase="measure", detail="pair 2"))
    assert written.getvalue().splitlines() == lines


def test_heartbeat_says_at_once_that_the_device_is_taken_and_says_it_once() -> None:
    written = io.StringIO()
    heart = Heartbeat(Console(file=written), 60.0)
    for number in (1, 2):
        heart.beat(Progress(number=number, phase="lock", detail=""))
        heart.beat(Progress(number=number, phase="lock", detail="another"))
        assert written.getvalue().splitlines() == ["#1 waits for the device (another)"]


def test_heartbeat_is_silent_on_a_terminal() -> None:
    written = io.StringIO()
    heart = Heartbeat(Console(file=written, force_terminal=True), 0.0)
    heart.beat(Progress(number=3, phase="measure", detail=""))
    assert written.getvalue() == ""


def test_failure_of_many_lines_is_shown_by_its_first(
    display: tuple[LiveDisplay, Callable[[], str]],
) -> None:
    shown, text = display
    failed = fake_result(fake_spec(1), Outcome.CRASHED)
    why = {"explanation": "torch said no\nand\nwhy [at length]", "log": "logs/1.log"}
    shown.on_confirming(1)
    shown.on_confirmed(failed.model_copy(update=why), 0)
    assert "repetition of #1: crashed: torch said no (more in logs/1.log)\n" in text()
    assert "at length" not in text()


@pytest.mark.parametrize(("grade", "warned"), [(Grade.B, False), (Grade.C, True)])
def test_disturbed_baseline_is_said_at_once(
    display: tuple[LiveDisplay, Callable[[], str]], grade: Grade, warned: bool
) -> None:
    shown, text = display
    study = study_of("output_tokens_per_second")
    speed = Measurement(value=100.0, unit="1/s", grade=grade)
    result = fake_result(fake_spec(0)).model_copy(
        update={"metrics": {"output_tokens_per_second": speed}}
    )
    for number, recipe in ((0, {}), (1, {"batch": {"size": 4}})):
        shown.on_trial_finished(
            study,
            TrialRecord.model_construct(
                number=number, recipe=recipe, confirmations={}, result=result
            ),
        )
    assert text().count("the baseline was too disturbed") == int(warned)


def test_totals_follow_from_one_trial_after_another() -> None:
    shown = LiveDisplay(Console(file=io.StringIO(), force_terminal=True))
    study = study_of("output_tokens_per_second", "weights_bytes")
    # Speed and weights: the baseline, one that beats it, a trade-off, one that is beaten.
    values = {0: (100.0, 10e6), 1: (200.0, 5e6), 2: (400.0, 20e6), 3: (50.0, 30e6)}
    for number, (speed, weights) in values.items():
        result = fake_result(
            fake_spec(number), output_tokens_per_second=speed, weights_bytes=weights
        )
        recipe = {"batch": {"size": number}} if number else {}
        trial = TrialRecord.model_construct(
            number=number, recipe=recipe, confirmations={}, result=result
        )
        shown.on_trial_finished(study, trial)
    assert shown._status.startswith("4 done · 0 infeasible · 0 failed · front 2 · ")
    assert "hypervolume 0.000" not in shown._status
    assert shown._front is not None
    assert shown._front.numbers == [1, 2]

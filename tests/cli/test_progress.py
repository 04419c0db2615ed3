"""What commands print while they work."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from autotune.cli.demo_progress import training_bar
from autotune.cli.live import LiveDisplay


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

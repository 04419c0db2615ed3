"""``autotune explain`` on a real database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import known_study as known
from autotune.explain import Explanation
from autotune.messages import RecipeDict
from autotune.outcome import Outcome
from stored_study import store_study


def explain(folder: Path, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "autotune.cli", "explain", name, "--output", str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a failure, and one of which only the baseline is measured."""
    folder = tmp_path_factory.mktemp("studies")
    trials = known.random_study(24)
    bad: RecipeDict = {"engine": {"backend": "x"}}
    trials.append(known.trial(24, bad, None, Outcome.CRASHED, "[bold]no such backend"))
    for name, chosen in (("whole", trials), ("begun", trials[:1])):
        store_study(
            f"sqlite:///{folder}/autotune.db",
            name,
            chosen,
            known.study().objectives,
            constraints=["kld_mean_nats<=0.05"],
        )
    return folder


def test_answer_comes_first_and_the_next_command_last(folder: Path) -> None:
    done = explain(folder, "whole")
    assert done.returncode == 0, done.stderr
    introduction, first, *_, last = done.stdout.strip().splitlines()
    assert introduction.endswith("(95 % intervals):")
    assert first.startswith("batch.size=")
    assert last == f"next: autotune pareto whole --output {folder}"
    for title in ("effects on average", "alone, as measured", "what matters", "constraints"):
        assert title in done.stdout
    assert "[bold]no such backend" in done.stdout


def test_json_holds_everything(folder: Path) -> None:
    done = explain(folder, "whole", "--json")
    found = Explanation.model_validate(json.loads(done.stdout))
    assert found.ending.reason == "budget: 25 trials"
    assert {e.metric for e in found.effects} == {known.SPEED, known.WEIGHTS, known.KLD}
    assert found.failures[0].trials == (24,)


def test_study_with_too_few_trials_says_how_to_go_on(folder: Path) -> None:
    done = explain(folder, "begun")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Nothing but the baseline was measured")
    last = done.stdout.strip().splitlines()[-1]
    assert last == (f"next: autotune search --resume --name begun --output {folder} --trials 25")


def test_unknown_study_is_refused_as_everywhere(folder: Path) -> None:
    done = explain(folder, "whale")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no study named 'whale'; did you mean 'whole'?")


def test_help_has_an_example() -> None:
    command = [sys.executable, "-m", "autotune.cli", "explain", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Example: autotune explain demo-cpu" in done.stdout

"""``autotune compare`` on real databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

import known_study as known
from autotune.environment import ENV_ID
from autotune.messages import RecipeDict
from autotune.report.compare import Comparison
from autotune.store.records import TrialRecord
from stored_study import store_study

Run = Callable[..., tuple[int, str, str]]
QUANTIZED: RecipeDict = {"quantize": {"scheme": "int8", "group": 32}}
BATCHED: RecipeDict = {"batch": {"size": 4}}
LAPTOP = {"device": "laptop", "torch": "2.13.0", "cpu_model": "a", ENV_ID: "1"}
SERVER = {"device": "server", "torch": "2.14.0", "cpu_model": "a", ENV_ID: "2"}
MODEL = {"model": "m", "model_files": "f", "workload": {"prompt_tokens": 16}}


def stored(
    folder: Path,
    name: str,
    trials: Iterable[TrialRecord],
    environment: Mapping[str, str] = LAPTOP,
    definition: Mapping[str, Any] = MODEL,
) -> None:
    store_study(
        f"sqlite:///{folder}/autotune.db",
        name,
        trials,
        known.study().objectives,
        environment=environment,
        definition=definition,
    )


def trials(*, slower: float = 1.0) -> list[TrialRecord]:
    """The baseline, one that agrees, and one that is so much slower."""
    return [
        known.timed(0, {}),
        known.timed(1, QUANTIZED),
        known.timed(2, BATCHED, slower),
    ]


def compared(run_main: Run, *arguments: object) -> Comparison:
    code, out, error = run_main("compare", *arguments, "--output", ".", "--json")
    assert (code, error) == (0, "")
    return Comparison.model_validate(json.loads(out))


def test_alike_studies_may_be_compared_as_they_are(tmp_path: Path, run_main: Run) -> None:
    stored(tmp_path, "one", trials())
    stored(tmp_path, "two", [*trials(), known.timed(3, BATCHED | QUANTIZED)])
    found = compared(run_main, "one", "two")
    assert found.differences == ()
    assert [pair.verdicts[known.SPEED] for pair in found.shared] == ["agree", "agree"]
    assert (found.only_a, found.only_b) == (0, 1)
    fastest = next(pair for pair in found.picks if pair.name == "fastest")
    assert fastest.a is not None
    assert fastest.b is not None
    assert (fastest.a.number, fastest.b.number) == (2, 3)
    assert fastest.a.values[known.SPEED].ratio == pytest.approx(2.0)
    assert fastest.b.values[known.SPEED].ratio == pytest.approx(2.8)
    _, out, _ = run_main("compare", "one", "two", "--output", ".")
    assert "values may be compared as they are" in out
    assert "NOT comparable" not in out
    assert "output tokens/s: 2 of 2 recipes agree" in out


def test_disagreement_beyond_the_intervals_is_marked_and_comes_first(
    tmp_path: Path, run_main: Run
) -> None:
    stored(tmp_path, "one", trials())
    stored(tmp_path, "two", trials(slower=1.3))
    found = compared(run_main, "one", "two")
    verdicts = {pair.name: pair.verdicts for pair in found.shared}
    assert verdicts["batch size=4"] == {
        known.SPEED: "differ",
        known.WEIGHTS: "agree",
        known.KLD: "agree",
    }
    assert set(verdicts["quantize int8 group=32"].values()) == {"agree"}
    _, out, _ = run_main("compare", "one", "two", "--output", ".")
    shared = out[out.index("that both measured") :]
    assert shared.index("batch size=4") < shared.index("quantize int8")
    assert shared.count("\N{NOT EQUAL TO}") == 2  # one value, and the legend
    assert "1 of 2 recipes agree" in shared


def test_other_machines_in_other_databases_are_told_apart(tmp_path: Path, run_main: Run) -> None:
    there = tmp_path / "there"
    there.mkdir()
    stored(tmp_path, "same", trials())
    other = MODEL | {"model_files": "g", "workload": {"prompt_tokens": 64}}
    stored(there, "same", trials(), SERVER, other)
    url = f"sqlite:///{there}/autotune.db"
    found = compared(run_main, "same", "same", "--database-b", url)
    assert {(d.kind, d.key, d.a, d.b) for d in found.differences} == {
        ("environment", "device", "laptop", "server"),
        ("environment", "torch", "2.13.0", "2.14.0"),
        ("definition", "model_files", "f", "g"),
        ("definition", "workload.prompt_tokens", "16", "64"),
    }
    assert all("differ" not in pair.verdicts.values() for pair in found.shared)
    _, out, _ = run_main("compare", "same", "same", "--output", ".", "--database-b", url)
    assert "The values are NOT comparable: machine, versions or settings and model or" in out
    assert "The models differ: accuracy is each against its own baseline" in out


def test_nothing_is_written(tmp_path: Path, run_main: Run) -> None:
    stored(tmp_path, "one", trials())
    before = {p: p.read_bytes() for p in tmp_path.iterdir() if p.suffix == ".db"}
    compared(run_main, "one", "one")
    assert {p: p.read_bytes() for p in before} == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["one", "onee"], "no study named 'onee'; did you mean 'one'"),
        (["one", "one", "--database-b", "sqlite:///none.db"], "none.db"),
        (["one", "none"], "study 'none' has no measured trial yet"),
    ],
)
def test_what_cannot_be_compared_is_explained(
    tmp_path: Path, run_main: Run, arguments: list[str], words: str
) -> None:
    stored(tmp_path, "one", trials())
    stored(tmp_path, "none", [])
    code, out, error = run_main("compare", *arguments, "--output", ".")
    assert (code, out) == (2, "")
    assert words in error

"""A real search as a function call."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import autotune
from autotune.errors import InputError
from autotune.notebook import Study

ROOT = Path(__file__).parents[2]
Keys = dict[str, Any]


@pytest.fixture
def quick(study: Callable[..., Path], tmp_path: Path) -> Keys:
    """What makes a search quick, and where it goes; the tiny model comes from the study file."""
    return {"study": study(), "output": tmp_path / "studies", "plugins": ["batch"]}


def quick_search(quick: Keys, **more: Any) -> Study:
    found: Study = autotune.search(**{**quick, "trials": 3, "progress": False, **more})
    return found


@pytest.fixture(scope="module")
def searched(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: Path, quick_keys: Keys
) -> Study:
    output = tmp_path_factory.mktemp("notebook") / "studies"
    found: Study = autotune.search(
        str(tiny_model),
        name="s",
        plugins={"batch": {"size": [1, 2, 4]}},
        objectives=["throughput", "memory", "accuracy"],
        trials=3,
        output=output,
        progress=False,
        **quick_keys,
    )
    return found


@pytest.mark.slow
def test_search_measures_and_returns_the_study(searched: Study) -> None:
    assert searched.state == "finished"
    assert [trial.number for trial in searched.trials] == [0, 1, 2]
    assert searched.baseline is searched.trials[0]
    assert searched.trials[1].recipe["batch"]["size"] in (2, 4)
    assert searched.front
    assert searched.pick("fastest").value(searched.objectives[0])
    assert (searched.place.output / "s" / "report.html").is_file()


@pytest.mark.slow
def test_command_line_goes_on_with_it(searched: Study, autotune: Any) -> None:
    """Both have the same definition."""
    output = searched.place.output
    done = autotune("search", "--resume", "--name", "s", "--trials", "3", "--output", output)
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout


@pytest.mark.slow
def test_everything_of_it_can_be_shown(searched: Study, tmp_path: Path) -> None:
    for figure in (
        searched.plot_front(),
        searched.plot_progress(),
        searched.plot_parallel(),
        searched.plot_effects(),
    ):
        assert {"data", "layout"} <= json.loads(figure.to_json()).keys()
    assert "fastest" in searched._repr_html_()
    assert "<Study s, finished" in repr(searched)
    assert searched.explain().answer
    assert searched.report(tmp_path / "r.html").read_text().lower().startswith("<!doctype html>")


@pytest.mark.slow
def test_search_works_inside_a_running_event_loop(quick: Keys) -> None:
    """As in a notebook, whose kernel runs one."""

    async def cell() -> Study:
        return quick_search(quick, trials=2)

    assert len(asyncio.run(cell()).trials) == 2


@pytest.mark.slow
def test_example_of_the_readme_runs(
    tiny_model: Path, quick_keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = text[text.index("### In a notebook") :]
    code = section.partition("```python\n")[2].partition("```")[0]
    shorter = code.replace('"demo-tiny"', "model").replace("trials=6", "trials=2, **quick")
    assert shorter.count("model, ") == shorter.count("**quick") == 1
    monkeypatch.chdir(tmp_path)
    exec(shorter, {"model": str(tiny_model), "quick": quick_keys})
    assert (tmp_path / "studies" / "first" / "report.html").is_file()


INTERRUPTED = """
import json, os, signal, sys, threading, time
import autotune
keys = json.loads(sys.argv[1])

def is_measured():
    try:
        return autotune.open_study("s", output=keys["output"]).baseline
    except autotune.InputError:  # it is not there yet
        return None

def interrupt():
    while not is_measured():
        time.sleep(0.02)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt, daemon=True).start()
study = autotune.search(**keys, trials=50)
print("STATE", study.state, study.trials[0].outcome)
"""


@pytest.mark.slow
def test_interrupt_returns_what_there_is(quick: Keys) -> None:
    keys = {name: str(v) if isinstance(v, Path) else v for name, v in quick.items()}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, json.dumps(keys)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert done.returncode == 0, done.stderr
    assert "STATE interrupted ok" in done.stdout
    assert "resume=True" in done.stdout
    found = quick_search(quick, name="s", resume=True, trials=2)
    assert (found.state, len(found.trials)) == ("finished", 2)


def test_wrong_key_is_named_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"workload.new_tokns.*did you mean 'workload.new_tok"):
        autotune.search("demo", workload={"new_tokns": 3}, output=tmp_path / "studies")
    with pytest.raises(InputError, match="no key named 'plugin'"):
        autotune.search("demo", plugin=["batch"], output=tmp_path / "studies")
    assert not list(tmp_path.iterdir())


def test_search_can_be_called_whatever_was_imported_before() -> None:
    """``autotune.search`` is a package, too."""
    code = (
        "import autotune; first = autotune.search; import autotune.search.plan as p; "
        "assert autotune.search is first and callable(first) and p.make_plan"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no database"):
        autotune.open_study("s", output=tmp_path)


def test_text_in_the_place_of_names_of_plugins_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plugins is 'batch', wanted a list of names"):
        autotune.search("demo-tiny", plugins="batch", output=tmp_path)

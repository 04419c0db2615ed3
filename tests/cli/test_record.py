"""A small space is recorded whole, on a real model, through the installed command."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.store import Store
from autotune.tables import read_table

AUTOTUNE = Path(sys.executable).with_name("autotune")

RunAutotune = Callable[..., Any]
WriteStudy = Callable[..., Path]
RunMain = Callable[..., tuple[int, str, str]]


PLUGINS = {"batch": {"size": [1, 2, 4, 8]}}


@pytest.fixture
def file(study: WriteStudy) -> Path:
    return study(plugins=PLUGINS, constraints=["weights_bytes<=1"])


def test_pool_beyond_the_limit_is_refused_before_anything_is_written(
    run_main: RunMain, file: Path, tmp_path: Path
) -> None:
    code, _, error = run_main("record", "--study", file, "--limit", 3)
    assert code == 2
    assert "this space has 4 recipes, and --limit allows 3" in error
    assert "--limit 4" in error
    assert not (tmp_path / "studies").exists()


def test_resume_without_a_name_is_refused(run_main: RunMain) -> None:
    code, _, error = run_main("record", "--resume")
    assert code == 2
    assert "to resume, a study's name (--name)" in error


def test_study_for_a_worker_is_refused(run_main: RunMain, study: WriteStudy) -> None:
    code, _, error = run_main("record", "--study", study(worker="far"))
    assert code == 2
    assert "recorded on this machine" in error


@pytest.mark.slow
def test_stopped_recording_keeps_its_rows_and_goes_on(
    autotune: RunAutotune, file: Path, cache: Path, tmp_path: Path
) -> None:
    first = subprocess.Popen(
        [str(AUTOTUNE), "record", "--study", str(file), "--table", "own/t.csv"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    _wait_for(lambda: _finished(tmp_path) >= 1, first)
    first.send_signal(signal.SIGINT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 130, said
    assert "go on with: autotune record --resume --name s --table own/t.csv" in said
    kept = read_table(tmp_path / "own/t.csv")
    assert 1 <= len(kept.rows) < 4

    again = autotune("record", "--study", file)
    assert again.returncode == 2
    assert "autotune record --resume --name s" in again.stderr

    done = autotune("record", "--resume", "--name", "s", "--table", "own/t.csv")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 recipes are in own/t.csv" in done.stdout
    table = read_table(tmp_path / "own/t.csv")
    assert table.rows[: len(kept.rows)] == kept.rows
    assert {row.params for row in table.rows} == {(1,), (2,), (4,), (8,)}
    assert table.params == ("batch.size",)
    # Nothing is cut short by the study's constraint, and a sibling's costs are filled in.
    assert all(row.valid for row in table.rows)
    assert all({"prepare", "score", "measure"} <= set(row.phase_seconds) for row in table.rows)
    assert len({row.setup_key for row in table.rows}) == 1
    assert len({row.phase_seconds["prepare"] for row in table.rows}) < 4
    assert "output_tokens_per_second" in table.rows[0].intervals


def _finished(folder: Path) -> int:
    try:
        with Store.open_existing(f"sqlite:///{folder}/studies/autotune.db") as store:
            trials = store.trials("s") if store.find_study("s") else []
    except InputError:  # the recording is only just making it
        return 0
    return sum(trial.result is not None for trial in trials)


def _wait_for(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.1)

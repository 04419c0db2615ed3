"""What is refused before anything is written, what is noticed later, and what a kill leaves."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autotune
from autotune.errors import AutotuneError, BenchError, InputError
from autotune.export.choose import choose
from autotune.export.files import EXPORT_FILE, FileEntry, list_files, read_export
from autotune.export.place import check_place, written_whole
from autotune.export.reference import tolerance_with
from autotune.messages import RecipeDict
from autotune.outcome import Outcome
from autotune.registry import installed
from autotune.report.summary import StudySummary
from export_support import MakePlan, chosen_of, export
from known_study import study, timed, trial

INT8: RecipeDict = {"quantize": {"scheme": "int8_weight_only"}}


def summary_of(recipe: RecipeDict, **changes: Any) -> StudySummary:
    """A study of a baseline and one further trial."""
    other = timed(1, recipe)
    assert other.result is not None
    changed = other.model_copy(update={"result": other.result.model_copy(update=changes)})
    return StudySummary.of(study(), [timed(0, {}), changed])


def test_a_trial_is_found_by_its_pick_and_by_its_number() -> None:
    plugins = installed().plugins
    summary = summary_of(INT8)
    assert choose(summary, "1", plugins).point.number == 1
    assert choose(summary, "#1", plugins).recipe == INT8
    assert choose(summary, "baseline", plugins).recipe == {}
    chosen = choose(summary, "most_accurate", plugins)
    assert chosen.numbers.baseline == summary.by_number[0].metrics
    assert chosen.numbers.metrics == chosen.point.metrics


@pytest.mark.parametrize(
    ("recipe", "changes", "name", "words"),
    [
        (INT8, {}, "fastst", "no pick named 'fastst'; did you mean 'fastest'?"),
        (INT8, {}, "7", "no measured trial #7"),
        (
            INT8,
            {"outcome": Outcome.CRASHED, "explanation": "it fell", "metrics": {}},
            "1",
            "trial 1 has no numbers to export: crashed: it fell; autotune pareto known lists",
        ),
        (INT8, {"fallbacks": ("asked for int8, ran float32: no kernel",)}, "1", "ran float32"),
        ({"no_such": {"on": True}}, {}, "1", "plugins not installed here: no_such"),
        ({"parallel": {"kind": "data", "world_size": 2}}, {}, "1", "2 processes run its model"),
        (
            {"power": {"cpu_governor": "performance"}},
            {},
            "1",
            "cpu_governor=performance was set of the device, which no server sets",
        ),
    ],
)
def test_what_no_directory_could_run_is_refused(
    recipe: RecipeDict, changes: dict[str, Any], name: str, words: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        choose(summary_of(recipe, **changes), name, installed().plugins)


def test_a_trial_that_still_runs_is_refused() -> None:
    running = trial(1, INT8, None).model_copy(update={"result": None})
    summary = StudySummary.of(study(), [timed(0, {}), running])
    with pytest.raises(InputError, match="trial 1 is still running"):
        choose(summary, "1", installed().plugins)


def fill(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)


def test_other_files_are_never_overwritten(tmp_path: Path) -> None:
    file, empty, full = tmp_path / "file", tmp_path / "empty", tmp_path / "full"
    file.write_text("mine")
    empty.mkdir()
    fill(full, "mine.txt")
    check_place(tmp_path / "new" / "deep", force=False)
    check_place(empty, force=False)
    for force in (False, True):
        with pytest.raises(InputError, match="is a file or a link"):
            check_place(file, force=force)
        with pytest.raises(InputError, match="is not empty, and no exported model"):
            check_place(full, force=force)
    assert file.read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=r"file cannot be written .*; name another directory"):
        check_place(tmp_path / "file" / "served", force=False)


def fail_within(folder: Path) -> None:
    with written_whole(folder, 1) as beside:
        fill(beside, "weights")
        raise KeyError


def test_a_directory_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    with pytest.raises(KeyError):
        fail_within(folder)
    assert list(tmp_path.iterdir()) == []
    with (
        pytest.raises(InputError, match=r"GiB are needed; free some"),
        written_whole(folder, 1e18),
    ):
        pytest.fail("begun")
    assert list(tmp_path.iterdir()) == []
    with written_whole(folder, 1) as beside:
        fill(beside, "weights")
        assert not folder.exists()
    assert [f.name for f in folder.iterdir()] == ["weights"]
    with written_whole(folder, 1) as beside:  # as --force does
        fill(beside, "others")
    assert [f.name for f in folder.iterdir()] == ["others"]
    assert [f.name for f in tmp_path.iterdir()] == ["served"]


_WRITE = """
import sys, time
from pathlib import Path
from autotune.export.place import written_whole
with written_whole(Path(sys.argv[1]), 1) as beside:
    (beside / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_a_kill_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    folder = tmp_path / "served"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITE, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".served.unfinished-")
    with pytest.raises(InputError, match=r"has no export\.json"):
        read_export(left)
    assert not folder.exists()
    with written_whole(folder, 1) as beside:  # the next one clears up
        fill(beside, "weights")
    assert [f.name for f in tmp_path.iterdir()] == ["served"]


def test_an_earlier_export_comes_back_that_a_killed_process_had_moved_away(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    folder, old = tmp_path / "served", tmp_path / f".served.unfinished-{ended.pid}.old"
    fill(old, "weights", EXPORT_FILE)
    with pytest.raises(InputError, match="--force overwrites it"):
        check_place(folder, force=False)
    assert sorted(f.name for f in folder.iterdir()) == [EXPORT_FILE, "weights"]
    fill(old, "older")
    with written_whole(folder, 1) as beside:  # a finished one took its place
        fill(beside, "others")
    assert [f.name for f in tmp_path.iterdir()] == ["served"]


def open_elsewhere(folder: Path) -> None:
    with written_whole(folder, 1):
        (folder.parent / "model").read_text()


def test_files_elsewhere_are_not_said_to_be_the_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_elsewhere(tmp_path / "served")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_directory_that_is_not_whole_is_not_loaded(plan_of: MakePlan, tmp_path: Path) -> None:
    folder = tmp_path / "served"
    plan = plan_of(INT8)
    found = export(plan, INT8, folder)
    assert set(found.files) == set(list_files(folder)) - {EXPORT_FILE}
    assert not found.spec.directory
    check_replacing(folder, found.files)
    for name, spoil, words in (
        ("weights.safetensors", lambda b: b[:-8], r"weights\.safetensors has \d+ bytes of \d+"),
        ("config.json", lambda b: b.replace(b"silu", b"relu"), "is not the file that was writ"),
        (EXPORT_FILE, lambda b: b[:100], "cannot read"),
    ):
        file = folder / name
        whole = file.read_bytes()
        file.write_bytes(spoil(whole))
        with pytest.raises(InputError, match=words):
            autotune.load(folder)
        file.write_bytes(whole)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"tokenizer\.json is missing"):
        autotune.load(folder)
    with pytest.raises(InputError, match="is an exported model and needs no other"):
        autotune.load(folder, model="elsewhere")


def check_replacing(folder: Path, files: dict[str, FileEntry]) -> None:
    assert files
    with pytest.raises(InputError, match="--force overwrites it"):
        check_place(folder, force=False)
    check_place(folder, force=True)
    fill(folder, "mine.txt")
    with pytest.raises(InputError, match=r"no export has written, e\.g\. mine\.txt"):
        check_place(folder, force=True)
    (folder / "mine.txt").unlink()


@pytest.mark.slow
def test_a_model_that_cannot_be_prepared_leaves_nothing(
    plan_of: MakePlan, tiny_model: Path, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for file in tiny_model.iterdir():
        (gone / file.name).write_bytes(file.read_bytes())
    plan = plan_of({}, gone)
    (gone / "model.safetensors").write_bytes(b"cut")
    folder = tmp_path / "out" / "served"
    with pytest.raises((AutotuneError, BenchError), match="broken or cut short"):
        export(plan, {}, folder)
    assert list(folder.parent.iterdir()) == []
    with pytest.raises(InputError, match="GiB are needed"):
        export(plan, {}, folder, chosen=chosen_of({}, weights_disk_bytes=1e18))
    assert list(folder.parent.iterdir()) == []


def test_outputs_may_differ_more_only_where_other_kernels_compute() -> None:
    assert tolerance_with(1e-5, {"cpu_governor", "ram_bytes", "autotune"}) == 1e-5
    assert tolerance_with(1e-5, {"cpu_governor", "torch"}) == 5e-2
    assert tolerance_with(1e-5, {"cpu_flags_sha256"}) == 5e-2
    assert tolerance_with(1e-5, ()) == 1e-5


def test_whoever_may_read_the_directory_may_read_its_files(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    folder = tmp_path / "served"
    with written_whole(folder, 1) as beside:
        (beside / "own").mkdir()
        save_file({"x": np.zeros(1)}, beside / "own" / "weights.safetensors")
    assert (folder / "own" / "weights.safetensors").stat().st_mode & 0o777 == (
        folder.stat().st_mode & 0o666
    )

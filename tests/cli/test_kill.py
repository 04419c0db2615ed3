"""Killing any process at any moment loses no finished trial and repeats none."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from autotune.errors import InputError
from autotune.outcome import Outcome
from autotune.store import Store, StudyState, TrialRecord

AUTOTUNE = Path(sys.executable).with_name("autotune")
PLUGINS = {"batch": {"size": [1, 2, 4, 8, 16, 32]}}


class Coordinator:
    """A search in a process of its own, watched through its database."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self.url = f"sqlite:///{folder}/studies/autotune.db"
        self.process = subprocess.Popen(
            [str(AUTOTUNE), *command],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def trials(self) -> list[TrialRecord]:
        try:
            with Store.open_existing(self.url) as store:
                return store.trials("s") if store.find_study("s") else []
        except InputError:  # the search is only just making it
            return []

    def wait_until(self, finished: int) -> None:
        """Waits until so many trials are finished and another one has begun."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output()
            trials = self.trials()
            done = sum(t.result is not None for t in trials)
            if done >= finished and len(trials) > done:
                return
            time.sleep(0.1)
        raise AssertionError("the search did not get that far")

    def benches(self) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [c for c in children if "autotune.bench" in _command(c)]

    def output(self) -> str:
        return self.process.communicate(timeout=240)[0]

    def state(self) -> StudyState:
        with Store.open_existing(self.url) as store:
            return store.study("s").state


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it ended just now
        return ""


@pytest.fixture
def start(tmp_path: Path, study: Callable[..., Path]) -> Iterator[Callable[..., Coordinator]]:
    started: list[Coordinator] = []
    path = study(plugins=PLUGINS)

    def run(*command: str) -> Coordinator:
        own = ["search", "--study", str(path), "--trials", "6", "--resume"]
        started.append(Coordinator(tmp_path, list(command) or own))
        return started[-1]

    yield run
    for coordinator in started:
        if coordinator.process.poll() is None:
            coordinator.process.kill()
        coordinator.process.communicate()


def finished(trials: list[TrialRecord]) -> dict[int, TrialRecord]:
    return {t.number: t for t in trials if t.result is not None}


def assert_gone(processes: list[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert not alive


@pytest.mark.slow
def test_what_is_interrupted_and_killed_loses_and_repeats_nothing(
    start: Callable[..., Coordinator],
) -> None:
    first = start()
    first.wait_until(finished=1)
    benches = first.benches()
    first.process.send_signal(signal.SIGINT)
    output = first.output()
    assert first.process.returncode == 130, output
    assert_gone(benches)
    assert first.state() is StudyState.INTERRUPTED
    before = finished(first.trials())

    second = start()
    second.wait_until(finished=len(before) + 1)
    benches = second.benches()
    second.process.kill()
    second.process.wait()
    assert_gone(benches)
    between = finished(second.trials())
    assert {n: between[n] for n in before} == before

    printed = shlex.split(output.rpartition("go on with: ")[2].strip())
    third = start(*printed[1:])
    third.wait_until(finished=len(between) + 1)
    known = finished(third.trials())
    for bench in third.benches():  # the candidate's and the baseline's, not their template
        if bench.ppid() != third.process.pid:
            bench.kill()
    output = third.output()
    assert third.process.returncode == 0, output
    assert third.state() is StudyState.FINISHED
    after = finished(third.trials())
    assert {n: after[n] for n in known} == known
    assert sorted(after) == list(range(6))
    assert len({t.recipe_key for t in after.values()}) == 6
    crashed = [t.result for t in after.values() if t.result and t.result.outcome != Outcome.OK]
    assert len(crashed) <= 1, "a killed bench process costs its own trial"
    assert all("was killed by SIGKILL" in result.explanation for result in crashed)

"""Bench processes that are forked from a real template, and every way that it can end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from autotune.bench.protocol import Operation
from autotune.errors import BenchError
from autotune.execute.process import bench_environment
from autotune.execute.session import BenchSession
from autotune.execute.template import Template, end_templates, fork

LOST = """
import sys, time
from pathlib import Path
from autotune.execute.session import BenchSession
from autotune.execute.template import fork
session = BenchSession(Path(sys.argv[1]), {}, start=fork)
print(session.pid, flush=True)
time.sleep(600)
"""
"""A parent that is killed."""


@pytest.fixture(scope="module", autouse=True)
def template_of_these_tests() -> None:
    """That of earlier tests may have begun in another environment."""
    end_templates()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    log = tmp_path_factory.mktemp("template") / "log"
    template = Template(log, bench_environment({}))
    yield template
    template.close()


def is_template(process: psutil.Process) -> bool:
    """Or forked from one: the kernel shows the same command."""
    return "autotune.bench.template" in process.cmdline()


def is_forked(pid: int) -> bool:
    templates = [p for p in psutil.Process().children() if is_template(p)]
    return psutil.Process(pid).parent() in templates


def parent(session: BenchSession) -> psutil.Process:
    """Its template."""
    found = psutil.Process(session.pid).parent()
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("variables", "same"),
    [({"AUTOTUNE_HERE": "1"}, True), ({"ATEN_CPU_CAPABILITY": "default"}, False)],
)
def test_what_libraries_read_when_loaded_has_a_template_of_its_own(
    log: Path, variables: dict[str, str], same: bool
) -> None:
    end_templates()
    with (
        BenchSession(log, {}, start=fork) as plain,
        BenchSession(log, variables, start=fork) as first,
        BenchSession(log, variables, start=fork) as second,
    ):
        assert all(is_forked(session.pid) for session in (plain, first, second))
        assert parent(first) == parent(second)
        assert (parent(first) == parent(plain)) == same
        if not same:
            ((name, value),) = variables.items()
            assert parent(first).environ()[name] == value


def test_unused_templates_end_but_for_the_latest(log: Path) -> None:
    end_templates()
    with BenchSession(log, {}, start=fork) as used:
        begun = []
        for value in range(1, 6):
            with BenchSession(log, {"ANY_LIBRARY_READS": str(value)}, start=fork) as session:
                begun.append(parent(session))
        assert [p.is_running() for p in begun] == [False, True, True, True, True]
        assert parent(used).is_running(), "it is not the latest, but somebody uses it"
        with BenchSession(log, {"ANY_LIBRARY_READS": "2"}, start=fork) as again:
            assert parent(again) == begun[1]
    with BenchSession(log, {"ANY_LIBRARY_READS": "6"}, start=fork):
        assert [p.is_running() for p in begun] == [False, True, False, True, True]


def test_limit_of_memory_holds_in_a_forked_process(log: Path) -> None:
    with BenchSession(log, {}, 1 << 40, start=fork) as session:
        assert resource.prlimit(session.pid, resource.RLIMIT_DATA) == (1 << 40, 1 << 40)
        assert os.getpgid(session.pid) == session.pid, "in a session of its own"


def test_dead_process_keeps_its_id_until_its_end_is_read(template: Template, log: Path) -> None:
    process = template.fork(log, bench_environment({}))
    os.kill(process.pid, signal.SIGKILL)
    psutil.wait_procs([psutil.Process(process.pid)], timeout=1)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert process.wait(10) == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)
    process.stdin.close()
    process.stdout.close()


def test_wait_gives_up_in_time_and_an_exit_status_comes_through(
    template: Template, log: Path
) -> None:
    process = template.fork(log, bench_environment({}))
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.05)
    process.stdin.write(b"not a request\n")
    process.stdin.close()
    assert process.wait(30) == 1
    assert "ValidationError" in log.read_text(encoding="utf-8")
    process.stdout.close()


def test_fork_is_given_up_while_the_template_still_imports(log: Path) -> None:
    template = Template(log, bench_environment({}))
    with pytest.raises(TimeoutError):
        template.fork(log, bench_environment({}), given_up=lambda: True)
    template.close()


def test_who_gives_a_process_up_leaves_the_template_to_others(log: Path) -> None:
    end_templates()
    before = psutil.Process().children()
    with pytest.raises(BenchError, match="it was stopped before it began"):
        BenchSession(log, {}, start=partial(fork, given_up=lambda: True))
    (importing,) = set(psutil.Process().children()) - set(before)
    with BenchSession(log, {}, start=fork) as other:
        assert psutil.Process(other.pid).parent() == importing


def test_death_of_the_template_ends_its_processes_and_the_next_one_has_a_new_template(
    log: Path,
) -> None:
    with BenchSession(log, {}, start=fork) as first:
        assert is_forked(first.pid)
        before = psutil.Process(first.pid).ppid()
        os.kill(before, signal.SIGKILL)
        psutil.wait_procs([psutil.Process(first.pid)], timeout=30)
        with pytest.raises(BenchError, match="was killed by SIGKILL during block"):
            first.ask(Operation.BLOCK, 60, None)
    with BenchSession(log, {}, start=fork) as second:
        assert psutil.Process(second.pid).ppid() != before
        assert is_forked(second.pid)


def test_template_that_cannot_start_says_so(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autotune.execute.template._shared", [])
    monkeypatch.setattr("autotune.execute.template.sys.executable", "/bin/false")
    with pytest.raises(BenchError, match="the process that bench processes are forked from"):
        BenchSession(log, {}, start=fork)


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LOST, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        forked = psutil.Process(int(parent.stdout.readline()))
        template = forked.parent()
        assert template is not None
        parent.kill()
    _, left = psutil.wait_procs([forked, template], timeout=30)
    assert not left

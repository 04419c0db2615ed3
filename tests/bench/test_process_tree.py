"""Memory of real processes that share pages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from autotune.bench.meters import process_tree
from autotune.bench.meters.process_tree import TreePoller, descendants, pss_bytes

MIB = 1 << 20
SHARED, SPIKE = 96, 64

FAMILY = f"""
import mmap, os, sys
shared = mmap.mmap(-1, {SHARED << 20})
shared.write(b"x" * len(shared))
ask_read, ask_write = os.pipe()
done_read, done_write = os.pipe()
child = os.fork()
if not child:
    os.close(ask_write)  # so that it ends with its parent
    assert shared[::4096].count(b"x") == {SHARED << 20} // 4096
    os.write(done_write, b".")
    while command := os.read(ask_read, 1):
        own = bytearray(b"y") * {SPIKE << 20} if command == b"+" else None
        os.write(done_write, b".")
    os._exit(0)
os.read(done_read, 1)
print("ready", flush=True)
for line in sys.stdin:
    os.write(ask_write, line[0].encode())
    os.read(done_read, 1)
    print("done", flush=True)
"""


class Family:
    """A process and a child that share memory; the child's own memory comes and goes."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.read("ready")

    def read(self, expected: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline().decode().strip() == expected

    def ask(self, command: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{command}\n".encode())
        self.process.stdin.flush()
        self.read("done")


@pytest.fixture
def family() -> Iterator[Family]:
    found = Family()
    with found.process:
        yield found
        assert found.process.stdin is not None
        found.process.stdin.close()


def test_shared_pages_count_once(family: Family) -> None:
    tree = [family.process.pid, *descendants(family.process.pid)]
    assert len(tree) == 2
    assert SHARED * MIB < sum(map(pss_bytes, tree)) < (SHARED + 40) * MIB
    assert all(pss_bytes(pid) < (SHARED // 2 + 30) * MIB for pid in tree)


def test_peak_of_a_child_is_seen_after_it_is_gone(family: Family) -> None:
    with TreePoller(family.process.pid) as quiet:
        pass
    with TreePoller(family.process.pid) as poller:
        family.ask("+")
        seen = poller._polls
        while poller._polls < seen + 2:  # one whole poll with the memory held
            pass
        family.ask("-")
    (before,), (after,) = quiet.metrics().values(), poller.metrics().values()
    assert before.value is not None
    assert after.value is not None
    assert after.value - before.value == pytest.approx(SPIKE * MIB, abs=4 * MIB)
    assert after.source.startswith("smaps_rollup, ")


def test_single_process_is_not_polled() -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        with TreePoller(child.pid) as poller:
            pass
        assert poller.metrics() == {}
    finally:
        child.kill()
        child.wait()


def test_process_that_is_gone_holds_nothing() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert pss_bytes(child.pid) == 0
    assert descendants(child.pid) == []


def test_own_process_is_readable() -> None:
    assert pss_bytes(os.getpid()) > MIB


def test_unreadable_process_is_null_with_a_reason(
    family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int) -> int:
        raise PermissionError(13, "Permission denied", str(Path(f"/proc/{pid}/smaps_rollup")))

    monkeypatch.setattr(process_tree, "pss_bytes", refuse)
    with TreePoller(family.process.pid) as poller:
        pass
    (found,) = poller.metrics().values()
    assert found.value is None
    assert found.reason == f"/proc/{family.process.pid}/smaps_rollup is not readable by this user"

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins import threads
from autotune_plugins.threads import Threads

WHERE = """
import os, threading, torch
torch.ones(512, 512) @ torch.ones(512, 512)
print(len(os.sched_getaffinity(0)), torch.get_num_threads())
"""


def test_threads_are_set_before_the_process_starts() -> None:
    found = Threads().env({"intra_op": 2, "binding": "none"})
    assert found == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def test_bound_threads_stay_on_one_core() -> None:
    env = os.environ | Threads().env({"intra_op": 2, "binding": "close"})
    done = subprocess.run([sys.executable, "-c", WHERE], env=env, capture_output=True, text=True)
    assert done.stdout.split() == ["1", "2"], done.stderr


def test_binding_leaves_the_number_of_threads_alone() -> None:
    found = Threads().env({"intra_op": 0, "binding": "close"})
    assert found == {"OMP_PROC_BIND": "close", "OMP_PLACES": "cores"}


def test_all_cores_cannot_be_spread(cpu: Device) -> None:
    Threads().check({"intra_op": 2, "binding": "spread"}, {}, cpu)
    with pytest.raises(Unsupported, match="no room to spread"):
        Threads().check({"intra_op": 0, "binding": "spread"}, {}, cpu)


def test_fewer_threads_than_cores_are_accepted(cpu: Device) -> None:
    Threads().check({"intra_op": 2, "binding": "none"}, {}, cpu)


@pytest.mark.parametrize(("count", "reason"), [(4, "is the default"), (8, "more than the 4")])
def test_threads_that_change_nothing_or_exceed_the_cores_are_refused(
    count: int, reason: str, cpu: Device
) -> None:
    with pytest.raises(Unsupported, match=reason):
        Threads().check({"intra_op": count, "binding": "none"}, {}, cpu)


def test_only_cpus_have_threads() -> None:
    assert Threads.requires.device == "cpu"


@pytest.fixture
def two_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of two NUMA nodes of four threads each."""
    for name, cores in (("node0", "0-1,4-5\n"), ("node1", "2-3,6-7\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cpulist").write_text(cores)
    monkeypatch.setattr(threads, "_NODES", tmp_path)
    return tmp_path


def test_threads_of_one_node_are_bound_to_its_cores(two_nodes: Path, cpu: Device) -> None:
    one = {"intra_op": 0, "binding": "none", "numa": "one"}
    Threads().check(one, {}, cpu)
    places = {"OMP_PROC_BIND": "close", "OMP_PLACES": "{0},{1},{4},{5}"}
    four = {"OMP_NUM_THREADS": "4", "MKL_NUM_THREADS": "4"}
    two = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    assert Threads().env(one) == places | four
    assert Threads().env(one | {"intra_op": 2}) == places | two


def test_one_node_is_all_there_is(two_nodes: Path, cpu: Device) -> None:
    with pytest.raises(Unsupported, match="8 threads are more than the 4 cores of one NUMA node"):
        Threads().check({"intra_op": 8, "binding": "none", "numa": "one"}, {}, cpu)
    shutil.rmtree(two_nodes / "node1")
    with pytest.raises(Unsupported, match="no second NUMA node"):
        Threads().check({"intra_op": 0, "binding": "none", "numa": "one"}, {}, cpu)

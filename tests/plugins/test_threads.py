from __future__ import annotations

import os
import subprocess
import sys

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
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


@pytest.mark.parametrize(("threads", "reason"), [(4, "is the default"), (8, "more than the 4")])
def test_threads_that_change_nothing_or_exceed_the_cores_are_refused(
    threads: int, reason: str, cpu: Device
) -> None:
    with pytest.raises(Unsupported, match=reason):
        Threads().check({"intra_op": threads, "binding": "none"}, {}, cpu)


def test_only_cpus_have_threads() -> None:
    assert Threads.requires.device == "cpu"

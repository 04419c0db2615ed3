from __future__ import annotations

import pytest

from autotune.device import Device
from autotune.plugin import Unsupported
from autotune_plugins.threads import Threads


def test_threads_are_set_before_the_process_starts() -> None:
    assert Threads().env({"intra_op": 2}) == {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}


def test_fewer_threads_than_cores_are_accepted(cpu: Device) -> None:
    Threads().check({"intra_op": 2}, {}, cpu)


@pytest.mark.parametrize(("threads", "reason"), [(4, "is the default"), (8, "more than the 4")])
def test_threads_that_change_nothing_or_exceed_the_cores_are_refused(
    threads: int, reason: str, cpu: Device
) -> None:
    with pytest.raises(Unsupported, match=reason):
        Threads().check({"intra_op": threads}, {}, cpu)


def test_only_cpus_have_threads() -> None:
    assert Threads.requires.device == "cpu"

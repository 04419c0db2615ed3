"""The allocator's state, in processes of their own."""

from __future__ import annotations

import ctypes.util
import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: huge pages would hide most faults
import torch
from autotune.bench import allocator

def request():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    kept = [torch.ones(1 << 20, dtype=torch.uint8) for _ in range(30)]
    while kept:
        kept.pop(0)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "settled":
    allocator.settle()
for _ in range(8):
    request()
print(request())
"""
PAGES = (30 << 20) // os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_requests_of_a_settled_process_fault_no_pages_in() -> None:
    assert faults_of("settled") < 0.1 * PAGES
    # Whether a new one faults depends on its heap's luck; one that never adapts always does.
    assert faults_of("new", MALLOC_MMAP_THRESHOLD_="131072") > 0.9 * PAGES


HELD = """
import time, torch
from autotune.bench import allocator
from autotune.bench.meters.memory import status_bytes

allocator.release_freed()
before = status_bytes("VmRSS")
blocks = [torch.ones(1 << 14, dtype=torch.uint8) for _ in range(4096)]  # 64 MiB
del blocks
held = status_bytes("VmRSS") - before
allocator.release_freed()
print(held, status_bytes("VmRSS") - before)
"""


def test_jemalloc_gives_back_what_is_free() -> None:
    library = ctypes.util.find_library("jemalloc")
    if library is None:
        pytest.skip("jemalloc is not installed: apt-get install libjemalloc2")
    env = {**os.environ, "LD_PRELOAD": library}
    done = subprocess.run([sys.executable, "-c", HELD], env=env, capture_output=True, text=True)
    held, left = map(int, done.stdout.split())
    assert left < held - (8 << 20), "it had kept many of the freed pages for a while"


def faults_of(process: str, **variables: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, process],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)

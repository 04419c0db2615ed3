"""The allocator's state, in processes of their own."""

from __future__ import annotations

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
    kept = [torch.ones(12 << 20, dtype=torch.uint8) for _ in range(3)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "settled":
    allocator.settle()
for _ in range(3):
    request()
print(request())
"""
PAGES = (36 << 20) // os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_requests_of_a_settled_process_fault_no_pages_in() -> None:
    assert faults_of("new") > 0.4 * PAGES, "otherwise there is nothing to settle"
    assert faults_of("settled") < 0.1 * PAGES


def faults_of(process: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, process], capture_output=True, text=True, check=True
    )
    return int(done.stdout)

"""Imports ahead of what needs them."""

from __future__ import annotations

import subprocess
import sys

COUNTS = """
import gc
from autotune.bench.ahead import import_libraries
assert import_libraries() is None
print(len(gc.get_objects()), gc.get_freeze_count())
"""


def test_what_libraries_have_made_is_not_searched_for_garbage() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COUNTS], check=True, capture_output=True, text=True
    )
    searched, left_out = map(int, done.stdout.split())
    assert left_out > 100_000
    assert searched < left_out / 100

"""Energy through the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_watts_must_be_more_than_nothing(
    autotune: Callable[..., Any], study: Callable[..., Path]
) -> None:
    done = autotune("search", "--study", study(), "--cpu-watts-per-core", 0)
    assert done.returncode == 2
    assert "--cpu-watts-per-core: Input should be greater than 0" in done.stderr

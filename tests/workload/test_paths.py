"""Where files go, and whether they can."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from autotune.errors import InputError
from autotune.workload.paths import CACHE_VARIABLE, cache_directory, require_writable


def test_cache_directory_follows_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert cache_directory() == tmp_path
    monkeypatch.setenv(CACHE_VARIABLE, "")
    assert cache_directory().name == "autotune"


def test_require_writable_leaves_nothing_behind(tmp_path: Path) -> None:
    require_writable(tmp_path / "a" / "b", "the cache", "mend it")
    assert list(tmp_path.iterdir()) == []


def test_require_writable_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"the cache .* \(Permission denied\); mend it"):
        require_writable(tmp_path, "the cache", "mend it")


def test_require_writable_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"the output .* \(Not a directory\)"):
        require_writable(file / "below", "the output", "mend it")

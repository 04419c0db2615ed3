"""Where autotune keeps what it can make again."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import platformdirs

from autotune.errors import InputError

CACHE_VARIABLE = "AUTOTUNE_CACHE_DIR"


def cache_directory() -> Path:
    """The user's cache directory, or what ``AUTOTUNE_CACHE_DIR`` says."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("autotune"))


def require_writable(directory: Path, what: str, remedy: str) -> None:
    """Makes sure, by trying, that files can be written into a directory or into the nearest
    parent that exists. Leaves nothing behind.

    Args:
        directory: It need not exist yet.
        what: What it is for, e.g. ``"the cache"``.
        remedy: What the user can do.

    Raises:
        InputError: Nothing can be written there.
    """
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise InputError(
            f"{what} {directory} cannot be written ({error.strerror or error}); {remedy}"
        ) from error

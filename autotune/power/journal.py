"""What was set before, on disk before anything is changed: a later start can restore it."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO

from autotune.power.changes import Change, write

_PATTERN = "autotune-{user}-power-{id}.json"


def journals() -> Path:
    """The folder of all journals; as the settings, it does not outlive a reboot."""
    return Path(tempfile.gettempdir())


@contextmanager
def written_down(changes: Sequence[Change], folder: Path) -> Iterator[None]:
    """Keeps a journal, locked, as long as this process lives; removes it if all went well.

    Args:
        changes: With what was set before.
        folder: See ``journals``.
    """
    descriptor, begun = tempfile.mkstemp(prefix=".autotune-power-", dir=folder)
    file = folder / _PATTERN.format(user=os.getuid(), id=Path(begun).name.rpartition("-")[2])
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        json.dump([asdict(change) for change in changes], stream)
        stream.flush()
        os.fsync(stream.fileno())
        Path(begun).rename(file)  # from now on found, and by then locked and whole
        yield
        file.unlink()


def restore_leftovers(folder: Path | None = None) -> list[str]:
    """Restores what processes had changed that are dead.

    Args:
        folder: See ``journals``.

    Returns:
        What was restored, one line each, for a person.

    Raises:
        Unsupported: It cannot be restored; the journal stays.
    """
    found: list[str] = []
    pattern = _PATTERN.format(user=os.getuid(), id="*")
    for file in sorted((folder or journals()).glob(pattern)):
        if file.is_symlink():  # the folder is everybody's; ours are files
            continue
        with suppress(FileNotFoundError), file.open(encoding="utf-8") as stream:
            if os.fstat(stream.fileno()).st_uid == os.getuid() and _is_left(stream):
                found += _restore(stream)
                file.unlink()
    return found


def _is_left(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False  # who wrote it lives
    return True


def _restore(stream: IO[str]) -> Iterator[str]:
    changes = [Change(**entry) for entry in json.load(stream)]
    for change in reversed(changes):
        write(change, change.before)
        was = "the driver's own" if change.before is None else change.before
        yield f"{change.what} of {change.where}: restored to {was}"

"""Where a directory is written: beside its place until it is whole, then at once."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from autotune.errors import InputError
from autotune.export.files import EXPORT_FILE, is_export, read_manifest
from autotune.workload.paths import require_writable

_UNFINISHED = "unfinished"


def check_place(folder: Path, *, force: bool) -> None:
    """Makes sure that a directory may be written, and nothing else is lost.

    Args:
        folder: Where to.
        force: Whether an earlier export there may go.

    Raises:
        InputError: It may not.
    """
    _clear_up(folder)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is a file or a link; name a directory that does not exist")
    if folder.is_dir() and any(folder.iterdir()):
        _check_replaceable(folder, force)
    require_writable(folder.absolute().parent, "the folder of", "name another directory")


def _check_replaceable(folder: Path, force: bool) -> None:
    if not is_export(folder):
        raise InputError(f"{folder} is not empty, and no exported model; name another directory")
    if not force:
        raise InputError(
            f"{folder} holds an exported model; --force overwrites it, or name another directory"
        )
    files = {str(f.relative_to(folder)) for f in folder.rglob("*") if not f.is_dir()}
    if other := sorted(files - {*read_manifest(folder).files, EXPORT_FILE}):
        raise InputError(
            f"{folder} holds files that no export has written, e.g. {other[0]}; move them away, "
            "or name another directory"
        )


def _open_to_readers(folder: Path) -> None:
    """Its files for whoever may read the folder: safetensors writes them for their owner alone."""
    mode = folder.stat().st_mode & 0o666
    for file in folder.rglob("*"):
        if file.is_file():
            file.chmod(mode)


@contextmanager
def written_whole(folder: Path, needed_bytes: float) -> Iterator[Path]:
    """A directory beside the place of another, which it takes when all has gone well.

    Args:
        folder: What ``check_place`` has accepted.
        needed_bytes: That it will hold, roughly.

    Raises:
        InputError: There is not so much space, or it cannot be written.
    """
    parent = folder.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _clear_up(folder)
        beside = _beside(folder, os.getpid())
        beside.mkdir()
    except OSError as error:
        raise InputError(f"cannot write beside {folder}: {error.strerror or error}") from error
    try:
        free = shutil.disk_usage(parent).free
        if needed_bytes > free:
            raise InputError(
                f"{parent} has {free / 2**30:.1f} GiB free, {needed_bytes / 2**30:.1f} GiB are "
                "needed; free some, or name a directory on another disk"
            )
        yield beside
        _open_to_readers(beside)
        _take_place(beside, folder)
    except OSError as error:
        if not _concerns(error, beside, folder.absolute()):
            raise
        raise InputError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _beside(folder: Path, pid: int) -> Path:
    return folder.absolute().parent / f".{folder.absolute().name}.{_UNFINISHED}-{pid}"


def _concerns(error: OSError, *places: Path) -> bool:
    """Whether one of the places cannot be written, rather than anything else be done."""
    names = [Path(os.fsdecode(n)) for n in (error.filename, error.filename2) if n is not None]
    inside = any(name.absolute().is_relative_to(place) for name in names for place in places)
    return inside or error.errno in (errno.ENOSPC, errno.EDQUOT)


def _clear_up(folder: Path) -> None:
    """What processes have left that were killed: an earlier export that one had moved away goes
    back, if nothing took its place."""
    folder = folder.absolute()
    for left in folder.parent.glob(f".{folder.name}.{_UNFINISHED}-*"):
        pid, _, old = left.name.rpartition("-")[2].partition(".")
        if not pid.isdigit() or Path("/proc", pid).exists():
            continue
        if old and not folder.exists():
            os.replace(left, folder)
        elif not old or is_export(folder):
            shutil.rmtree(left, ignore_errors=True)


def _take_place(beside: Path, folder: Path) -> None:
    if not folder.is_dir() or not any(folder.iterdir()):
        os.replace(beside, folder)
        return
    old = beside.with_name(f"{beside.name}.old")
    os.replace(folder, old)
    try:
        os.replace(beside, folder)
    except OSError:
        os.replace(old, folder)
        raise
    shutil.rmtree(old)

"""The text that the demo model learns from and is judged on."""

from __future__ import annotations

import ast
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from autotune.errors import AutotuneError

_SKIPPED_FOLDERS = {
    "__pycache__",
    "dist-packages",
    "encodings",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "site-packages",
    "test",
    "tests",
}
# Tables of names and numbers: they teach the tokenizer nothing that a reader would type.
_SKIPPED_FILES = {"entities.py", "stringprep.py", "pydoc_topics.py", "_pydecimal.py"}
_MIN_FILE_BYTES, _MAX_FILE_BYTES = 400, 180_000
_MIN_DOCSTRING_CHARACTERS = 80
_HELDOUT_EVERY = 20
"""One file in this many is held out."""
_MIN_TRAINING_BYTES = 500_000


@dataclass(frozen=True)
class Corpus:
    """Documents by kind. No document of `heldout` comes from a file used in the others."""

    code: tuple[str, ...]
    """Whole source files."""
    prose: tuple[str, ...]
    """Docstrings and the language reference that pydoc carries."""
    own: tuple[str, ...]
    """The prose, code and dialogues that autotune ships for training."""
    heldout: tuple[str, ...]
    """Whole source files that nothing was trained on."""


def shipped_text(name: str) -> str:
    """Reads one of the texts under ``autotune/workload/texts``.

    Args:
        name: ``evaluation``, ``calibration`` or ``training``.
    """
    return files("autotune.workload").joinpath("texts", f"{name}.txt").read_text("utf-8")


def collect(max_bytes: int, *, stdlib: Path | None = None) -> Corpus:
    """Collects the corpus from the standard library of the running Python.

    The order and the split depend on the files' names alone, so that two runs on one Python see
    the same text.

    Args:
        max_bytes: Upper limit for `code`, for `prose` and, at a tenth of it, for `heldout`.
        stdlib: Where to look instead, for tests.

    Raises:
        AutotuneError: This Python carries no sources to learn from.
    """
    root = stdlib or Path(sysconfig.get_paths()["stdlib"])
    training, heldout = _split(root)
    code = _capped((_read(path) for path in training), max_bytes)
    if sum(map(len, code)) < min(max_bytes, _MIN_TRAINING_BYTES):
        raise AutotuneError(
            f"too few Python sources to train on: found {len(code)} usable files under {root}; "
            "use a Python whose standard library is installed as .py files"
        )
    docstrings = (text for path in training for text in _docstrings(_read(path)))
    topics = _capped(_topics(), max_bytes // 2)
    return Corpus(
        code=code,
        prose=topics + _capped(docstrings, max_bytes - sum(map(len, topics))),
        own=(shipped_text("training"),),
        heldout=_capped((_read(path) for path in heldout), max_bytes // 10),
    )


def _split(root: Path) -> tuple[list[Path], list[Path]]:
    # Ordered by a hash of the name: a size cap then takes a bit of every corner.
    ordered = sorted(_sources(root), key=lambda path: (_rank(root, path), path))
    training = [path for path in ordered if _rank(root, path) % _HELDOUT_EVERY]
    heldout = [path for path in ordered if not _rank(root, path) % _HELDOUT_EVERY]
    return training, heldout


def _rank(root: Path, path: Path) -> int:
    return zlib.crc32(path.relative_to(root).as_posix().encode())


def _sources(root: Path) -> Iterator[Path]:
    for path in root.rglob("*.py"):
        relative = path.relative_to(root)
        if _SKIPPED_FOLDERS.isdisjoint(relative.parts) and _is_readable_code(path):
            yield path


def _is_readable_code(path: Path) -> bool:
    if path.name in _SKIPPED_FILES or path.name.startswith("_sysconfigdata"):
        return False
    return path.is_file() and _MIN_FILE_BYTES <= path.stat().st_size <= _MAX_FILE_BYTES


def _read(path: Path) -> str:
    return path.read_text("utf-8", errors="replace")


def _docstrings(source: str) -> Iterator[str]:
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, documented):
            text = ast.get_docstring(node) or ""
            if len(text) >= _MIN_DOCSTRING_CHARACTERS:
                yield text + "\n"


def _topics() -> Iterator[str]:
    """Yields the chapters of the language reference that ``help()`` shows, where installed."""
    try:
        from pydoc_data.topics import topics  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        return
    for name in sorted(topics, key=lambda name: zlib.crc32(name.encode())):
        yield topics[name]


def _capped(texts: Iterator[str], max_bytes: int) -> tuple[str, ...]:
    kept: list[str] = []
    room = max_bytes
    for text in texts:
        if room <= 0:
            break
        kept.append(text[:room])
        room -= len(kept[-1])
    return tuple(kept)

"""Labelled texts for a classifier: JSONL with ``text`` and ``label``, or CSV with such columns."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autotune.errors import InputError, unknown_name

_ROW = '{"text": "what a fine day", "label": "positive"}'
_COLUMNS = ("text", "label")


@dataclass(frozen=True)
class LabelledText:
    """One row."""

    line: int
    """Where it ends in its file, from 1 on."""
    text: str
    label: str | int
    """The name of a class of the model, or its index."""


def read_labelled(path: Path) -> list[LabelledText]:
    """Reads a ``.jsonl`` or ``.csv`` file.

    Raises:
        InputError: It cannot be read, has no rows, or a row is wrong (file, line, what was given,
            what is allowed).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the task file {path} as UTF-8: {error}") from error
    read = _csv_rows if path.suffix == ".csv" else _json_rows
    rows = [_checked(path, line, row) for line, row in read(path, text)]
    if not rows:
        raise InputError(f"the task file {path} has no rows; each holds a text and a label")
    return rows


def _json_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(
                f"{path}, line {number}: no JSON object: {line[:60]!r}; expected {_ROW}"
            )
        yield number, row


def _csv_rows(path: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    if not text.strip():
        return
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = reader.fieldnames or ()
        if any(name not in columns for name in _COLUMNS):
            raise InputError(
                f"{path}, line 1: the columns are {', '.join(columns)}; needed: text, label"
            )
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num + 1}: no CSV: {error}") from error


def _checked(path: Path, line: int, row: Mapping[str, Any]) -> LabelledText:
    text, label = row.get("text"), row.get("label")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{path}, line {line}: the text is {text!r}; expected words")
    if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
        raise InputError(
            f"{path}, line {line}: the label is {label!r}; expected the name or the index of a "
            "class of the model"
        )
    return LabelledText(line, text, label)


def class_names(config: Mapping[str, Any]) -> list[str]:
    """The classes of a model, by index.

    Args:
        config: Its ``config.json``; transformers leaves out the names LABEL_0, LABEL_1.
    """
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return [str(name) for _, name in sorted((int(i), name) for i, name in names.items())]


def class_indices(path: Path, rows: Sequence[LabelledText], names: Sequence[str]) -> list[int]:
    """The class of each row.

    Raises:
        InputError: A label is neither the name nor the index of a class.
    """
    return [_index(path, row, names) for row in rows]


def _index(path: Path, row: LabelledText, names: Sequence[str]) -> int:
    if row.label in names:
        return names.index(str(row.label))
    given = str(row.label)
    if given.isascii() and given.isdigit() and int(given) < len(names):
        return int(given)
    raise InputError(
        f"{path}, line {row.line}: {unknown_name('label', given, names)}, or 0 to {len(names) - 1}"
    )

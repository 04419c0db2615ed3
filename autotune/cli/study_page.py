"""The keys of a study file as a page in Markdown: type, default and meaning of each."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from autotune.config import StudyFile
from autotune.markdown import plain, table

_HEAD = """\
# Study file

Written by `scripts/docs` from `autotune/config.py`. A study file is YAML; only `model` is needed.
An unknown key is an error that names the nearest one, and every option of `autotune search` that
is given overrides its key. Sections are nested: `budget.trials` is `trials` below `budget`.
"""

_KINDS = {bool: "true or false", int: "integer", float: "number", str: "text"}
_LIMITS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


def page() -> str:
    """The whole page."""
    return "\n".join((_HEAD, *_sections(StudyFile, "")))


def keys(section: type[BaseModel] = StudyFile, path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key with its full path, in the order of the page.

    Args:
        section: Where to begin.
        path: That section's own.
    """
    for name, field in section.model_fields.items():
        yield path + name, field
        if (inner := _section_of(field)) is not None:
            yield from keys(inner, f"{path}{name}.")


def _sections(section: type[BaseModel], path: str) -> Iterator[str]:
    rows = (_row(path + name, field) for name, field in section.model_fields.items())
    heading = f"## {path.rstrip('.') or 'The study'}\n"
    about = "" if section is StudyFile else _text(section.__doc__ or "") + "\n"
    yield "\n".join((heading, about, table(("key", "value", "default", "meaning"), rows)))
    for name, field in section.model_fields.items():
        if (inner := _section_of(field)) is not None:
            yield from _sections(inner, f"{path}{name}.")


def _row(key: str, field: FieldInfo) -> tuple[str, str, str, str]:
    meaning = plain(_text(field.description or ""))
    if _section_of(field) is not None:
        link = f"[see below](#{key.replace('.', '')})"
        return f"`{key}`", "keys", "", f"{meaning} {link}".strip()
    return f"`{key}`", _value(field), _default(field), meaning


def _section_of(field: FieldInfo) -> type[BaseModel] | None:
    for kind in _alternatives(field.annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    """What a value may be, but for null."""
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(one for one in get_args(annotation) if one is not type(None))
    return (annotation,)


def _value(field: FieldInfo) -> str:
    words = " or ".join(map(_kind, _alternatives(field.annotation)))
    return ", ".join((words, *_limits(field)))


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return "list"
    return "mapping" if origin is dict else _KINDS[annotation]


def _limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for name, words in _LIMITS.items():
            if hasattr(limit, name):
                yield f"{words} {getattr(limit, name):,}".replace(",", "\u202f")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "":
        return "none"
    return f"`{json.dumps(list(value) if isinstance(value, tuple) else value)}`"


def _text(docstring: str) -> str:
    """A docstring as Markdown in one line."""
    words = " ".join(docstring.split())
    return re.sub(r"``(.+?)``", r"`\1`", words)

"""Each message that the page on troubleshooting explains is one that the code can print. That it
explains those of bad input is asserted where these are made: tests/cli/test_bad_input.py."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autotune.config import build_study
from autotune.errors import InputError, unknown_name
from autotune.recipe import checked_value
from autotune.registry import installed
from documentation import ROOT, is_explained, matches, messages


@functools.cache
def templates() -> list[str]:
    """Every text of the source, with … for each value that is put into it."""
    rooms = (ROOT / "autotune", ROOT / "workers")
    files = [file for room in rooms for file in sorted(room.rglob("*.py"))]
    return [text for file in files for text in _templates(file)]


def _templates(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(_part(part) for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _part(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else "…"


@functools.cache
def made_elsewhere() -> list[str]:
    """Messages that are put together of several texts, or come from pydantic."""
    made = [
        unknown_name("plugin", "precison", ["precision"]),
        unknown_name("sampler", "magic", ["random"]),
        unknown_name("value of prune.method", "depht", ["depth"]),
        unknown_name("param of plugin 'prune'", "rato", ["ratio"]),
    ]
    wrong: list[Callable[[], object]] = [
        lambda: build_study({"model": "m", "budget": {"trials": 0}}, "study.yaml"),
        lambda: build_study({"model": "m", "name": "../escape"}, "study.yaml"),
        lambda: build_study({"model": "m", "constrains": []}, "study.yaml"),
        lambda: checked_value(installed().get("prune"), "ratio", 0.95),
    ]
    for call in wrong:
        with pytest.raises(InputError) as refused:
            call()
        made.append(str(refused.value))
    return made


@pytest.mark.parametrize("message", messages())
def test_message_is_one_of_the_code(message: str) -> None:
    written = any(message.strip("… ") in template for template in templates())
    assert written or any(matches(message, said) for said in made_elsewhere())


def test_what_nobody_says_is_not_explained() -> None:
    assert not is_explained("error: the moon is in the wrong phase")
    assert is_explained("error: no plugin named 'precison'; did you mean 'precision'? allowed: x")

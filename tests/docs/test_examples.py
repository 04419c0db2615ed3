"""What the pages tell a reader to type is what the commands take."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import autotune
from autotune.cli.__main__ import app
from autotune.config import build_study
from documentation import ROOT, Block, all_pages, blocks, shell_lines

ROOT_COMMAND: Any = typer.main.get_command(app)
SHELLS = ("sh", "bash", "console")
_ENDS = {"&&", "||", "|", ";", "&", ">"}


def of_language(*languages: str) -> Iterator[tuple[str, Block]]:
    for page in all_pages():
        for block in blocks(page):
            if block.language in languages:
                yield str(page.relative_to(ROOT)), block


def autotune_commands(line: str) -> Iterator[list[str]]:
    """The arguments of each ``autotune`` in a line, which may set variables and go on."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    for start, word in enumerate(words):
        if word == "autotune" and (start == 0 or words[start - 1] in _ENDS | {"("}):
            rest = words[start + 1 :]
            end = next((i for i, one in enumerate(rest) if set(one) <= set("&|;>()")), len(rest))
            yield rest[:end]


def examples() -> list[Any]:
    return [
        pytest.param(arguments, id=f"{page}: {' '.join(arguments)}")
        for page, block in of_language(*SHELLS)
        for line in shell_lines(block.text)
        for arguments in autotune_commands(line)
    ]


@pytest.mark.parametrize("arguments", examples())
def test_command_takes_these_arguments(arguments: list[str]) -> None:
    parse(ROOT_COMMAND, arguments)


def parse(command: Any, arguments: list[str]) -> None:
    """As the command line would, and without carrying it out."""
    children = getattr(command, "commands", {})
    if children and arguments and arguments[0] in children:
        parse(children[arguments[0]], arguments[1:])
        return
    assert not children or command.invoke_without_command, f"no command {arguments[0]}"
    command.make_context(command.name, list(arguments))


def test_wrong_examples_are_noticed() -> None:
    for wrong, words in {
        "serach --model demo": "no command serach",
        "search --modle demo": "--modle",
        "search --trials many": "valid integer",
        "reproduce demo": "Missing parameter",
    }.items():
        with pytest.raises(Exception, match=words):  # typer keeps its own classes to itself
            parse(ROOT_COMMAND, wrong.split())
    line = "A=1 && X=$(autotune serve token create me) # autotune nothing"
    assert list(autotune_commands(line)) == [["serve", "token", "create", "me"]]


def studies() -> list[Any]:
    return [
        pytest.param(block.text, id=page)
        for page, block in of_language("yaml")
        if "model:" in block.text
    ]


@pytest.mark.parametrize("text", studies())
def test_study_file_is_accepted(text: str) -> None:
    assert build_study(yaml.safe_load(text), "the page").model


@pytest.mark.parametrize(
    "block", [pytest.param(block, id=page) for page, block in of_language("python")]
)
def test_python_uses_public_names(block: Block) -> None:
    used = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.Attribute)]
    named = {n.attr for n in used if isinstance(n.value, ast.Name) and n.value.id == "autotune"}
    assert named <= set(autotune.__all__)


def test_there_are_examples() -> None:
    assert len(examples()) > 30
    assert len(studies()) >= 2


@pytest.mark.parametrize("page", all_pages(), ids=lambda page: page.name)
def test_no_command_is_overlooked(page: Path) -> None:
    """A line that begins with a command stands in a block for the shell."""
    text = page.read_text(encoding="utf-8")
    shown = [line for b in blocks(page) if b.language in SHELLS for line in b.text.splitlines()]
    typed = re.findall(r"^ *(?:\$ )?autotune (?:[a-z]+ )*--?[a-z].*$", text, re.MULTILINE)
    assert [line for line in typed if line.strip() not in map(str.strip, shown)] == []

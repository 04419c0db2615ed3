"""The generated pages are what the code says, and say all of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from autotune.cli import commands_page, environment_page, study_page
from autotune.cli.__main__ import app
from autotune.cli.pages import pages
from documentation import PAGES, ROOT

GENERATED = pages()
_VARIABLE = re.compile(r"\bAUTOTUNE_[A-Z_]+\b")
_BETWEEN_OUR_PROCESSES = {"AUTOTUNE_PARENT_PID"}


@pytest.mark.parametrize("name", GENERATED)
def test_page_is_what_the_code_generates(name: str) -> None:
    page = PAGES / "reference" / name
    assert page.read_text(encoding="utf-8") == GENERATED[name], (
        f"run scripts/docs and commit {page.relative_to(ROOT)}"
    )


@pytest.mark.parametrize(("words", "command"), [*commands_page.commands(app)])
def test_every_command_explains_itself_and_its_options(words: str, command: object) -> None:
    page = GENERATED["commands.md"]
    section = page.partition(f"\n## {words}\n")[2].partition("\n## ")[0]
    assert f"```sh\n{words}" in section
    for param in command.params:  # type: ignore[attr-defined]
        if param.name != "help":
            assert param.help, f"{words}: {param.name} has no help"
            assert all(f"`{name}`" in section for name in param.opts if name.startswith("-"))


@pytest.mark.parametrize(("key", "field"), [*study_page.keys()])
def test_every_key_of_a_study_file_is_explained(key: str, field: object) -> None:
    assert field.description, f"{key}: write a string under the field"  # type: ignore[attr-defined]
    assert f"| `{key}` |" in GENERATED["study_file.md"]


def test_every_variable_is_explained() -> None:
    rooms = (ROOT / "autotune", ROOT / "workers", ROOT / "plugins")
    sources = [file.read_text("utf-8") for room in rooms for file in room.rglob("*.py")]
    used = {name for text in sources for name in _VARIABLE.findall(text)}
    stated = {*environment_page.OWN, *environment_page.FOR_WORKERS}
    assert used - _BETWEEN_OUR_PROCESSES == stated


def test_pages_are_generated_into_their_folder() -> None:
    assert {file.name for file in Path(PAGES / "reference").glob("*.md")} == {
        *GENERATED,
        "plugins_checked.md",
        "tables.md",
    }

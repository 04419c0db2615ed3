"""The groups of ``autotune --help``."""

from __future__ import annotations

import re
from pathlib import Path

from autotune.cli.__main__ import PANELS, app

README = Path(__file__).parents[2] / "README.md"


def test_every_group_names_real_commands_and_each_once() -> None:
    found = [*app.registered_commands, *app.registered_groups]
    listed = [name for names in PANELS.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    assert set(listed) <= {one.name for one in found}
    assert all(one.rich_help_panel in PANELS for one in found if one.name in listed)


def test_every_command_stands_in_the_table_of_the_readme() -> None:
    rows = re.findall(r"^\| (`autotune .*?) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"`autotune ([\w-]+)", row)}
    assert told >= {name for names in PANELS.values() for name in names.split()}

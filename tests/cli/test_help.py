"""The groups of ``autotune --help``."""

from __future__ import annotations

from autotune.cli.__main__ import PANELS, app


def test_every_group_names_real_commands_and_each_once() -> None:
    found = [*app.registered_commands, *app.registered_groups]
    listed = [name for names in PANELS.values() for name in names.split()]
    assert len(listed) == len(set(listed))
    assert set(listed) <= {one.name for one in found}
    assert all(one.rich_help_panel in PANELS for one in found if one.name in listed)

"""The page of plugins is what the plugins say."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from autotune.cli.__main__ import app

PAGE = Path(__file__).parents[2] / "docs" / "plugins.md"


def test_page_is_what_the_plugins_generate() -> None:
    done = CliRunner().invoke(app, ["plugins", "list", "--markdown"], catch_exceptions=False)
    assert done.exit_code == 0
    assert PAGE.read_text(encoding="utf-8") == done.stdout, (
        "run scripts/docs and commit docs/plugins.md"
    )

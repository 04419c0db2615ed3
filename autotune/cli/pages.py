"""All generated pages: ``python -m autotune.cli.pages FOLDER`` writes them."""

from __future__ import annotations

import sys
from pathlib import Path

from autotune.cli import commands_page, environment_page, plugins, plugins_page, study_page
from autotune.cli.__main__ import app
from autotune.metrics import document


def pages() -> dict[str, str]:
    """File name → the page in Markdown."""
    return {
        "commands.md": commands_page.page(app),
        "study_file.md": study_page.page(),
        "plugins.md": plugins_page.page(plugins.declared()),
        "metrics.md": document.page(),
        "environment.md": environment_page.page(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (Path(sys.argv[1]) / name).write_text(text, encoding="utf-8")

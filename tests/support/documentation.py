"""What the pages of the documentation hold, for tests that compare it with the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "pages"
_BLOCK = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    title: str
    """What follows the language."""
    text: str


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [Block(language, title.strip(), text) for _, language, title, text in found]


def all_pages() -> list[Path]:
    """Every page, and what else shows commands."""
    others = ("README.md", "plugins/README.md", "CONTRIBUTING.md")
    return [*sorted(PAGES.rglob("*.md")), *(ROOT / name for name in others)]


def messages() -> list[str]:
    """The messages that the page on troubleshooting explains; … stands for what differs."""
    text = (PAGES / "troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^### `(.+)`$", text, re.MULTILINE)


def is_explained(said: str) -> bool:
    """Whether the page on troubleshooting has what a command has said."""
    return any(matches(message, said) for message in messages())


def matches(message: str, said: str) -> bool:
    """Whether a message of that page stands in what was said."""
    parts = map(re.escape, message.strip("… ").split("…"))
    return re.search(".+?".join(parts), said, re.DOTALL) is not None


def shell_lines(text: str) -> Iterator[str]:
    """The commands of a block for the shell: without prompts, joined where a line goes on."""
    for line in text.replace("\\\n", " ").splitlines():
        yield line.strip().removeprefix("$ ")

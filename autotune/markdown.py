"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table of cells in Markdown.

    Args:
        head: Headings of the columns.
        rows: A cell for each column.
    """
    names = list(head)
    lines = [names, ["---"] * len(names), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def plain(text: str) -> str:
    """Text as a cell that shows it as it is: stars would set what is between them in italics."""
    return text.replace("*", "\\*")


def _cell(text: str) -> str:
    """A bar or the end of a line would end the cell."""
    return text.replace("|", "\\|").replace("\n", " ")

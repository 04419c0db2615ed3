"""Tables in Markdown hold whatever their cells say."""

from __future__ import annotations

from autotune.markdown import plain, table


def test_cells_cannot_break_the_table() -> None:
    made = table(("a", "b"), [["x|y", "one\ntwo"]])
    assert made == "| a | b |\n| --- | --- |\n| x\\|y | one two |\n"


def test_stars_are_markdown_unless_the_text_is_plain() -> None:
    rows = [["**bold**", plain("2 * 3")]]
    assert table(("a", "b"), rows).endswith("| **bold** | 2 \\* 3 |\n")

"""The dashboard in a real browser, where there is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

SWITCH = """(() => {
  const items = [...document.querySelectorAll(".MuiDrawer-root .MuiListItemButton-root")];
  items.find((item) => item.querySelector("[data-testid^=Brightness]")).click();
})()"""
PAPER = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as found:
        yield found


def test_study_is_drawn_without_errors(browser: Browser, page: Any, tmp_path: Path) -> None:
    browser.open(page.url)
    plots = len(page.detail()["plotly_graph_objects"])
    drawn = "document.querySelectorAll('[id^=user-defined-plot].js-plotly-plot').length"
    browser.wait_for(f"{drawn} >= {plots}")
    browser.wait_for_text("fastest")  # the name of a pick beside its point
    light = browser.evaluate(PAPER)
    browser.evaluate(SWITCH)
    browser.wait_for(f"{PAPER} !== {light!r}")
    browser.screenshot(tmp_path / "dark.png")
    assert browser.said == []


def test_notes_are_shown(browser: Browser, page: Any) -> None:
    browser.open(f"{page.url}/note")
    browser.wait_for_text("What people write goes below this line")
    browser.wait_for_text("What the plugins gave and cost")
    browser.wait_for("document.querySelectorAll('table td').length > 8")
    failed = next(t for t in page.detail()["trials"] if t["state"] == "Fail")
    browser.open(f"{page.url}/trials?numbers={failed['number']}")
    browser.wait_for_text("Why it failed")
    browser.wait_for_text("died in <img src=x onerror=alert(1)> | *and* `more`")
    assert browser.evaluate("document.querySelectorAll('img[src=x]').length") == 0
    assert browser.said == []

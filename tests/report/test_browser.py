"""The HTML report in a real browser, where there is one."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from autotune.report.html import render_html
from autotune.report.summary import StudySummary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")

OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--enable-logging=stderr",
)
CLICK_A_HEADING = """
<script>
addEventListener("load", () => {
  const heading = document.querySelectorAll("#trials th button")[3];
  heading.click();
  heading.click();
});
</script>
"""


def browse(html: str, directory: Path) -> tuple[str, str]:
    """The document after its scripts ran, and what the console said."""
    file = directory / "report.html"
    file.write_text(html, encoding="utf-8")
    done = subprocess.run(
        [
            str(CHROMIUM),
            *OPTIONS,
            f"--user-data-dir={directory / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return done.stdout, "\n".join(said)


def test_report_draws_its_charts_without_errors(summary: StudySummary, tmp_path: Path) -> None:
    document, said = browse(render_html(summary), tmp_path)
    assert said == ""
    assert document.count('class="plot-container') == 2
    assert document.count('class="point"') >= len(summary.points)


def test_report_sorts_its_table_by_click(summary: StudySummary, tmp_path: Path) -> None:
    document, said = browse(render_html(summary) + CLICK_A_HEADING, tmp_path)
    assert said == ""
    body = document[document.index('<table id="trials"') :]
    first = body[body.index("<tbody>") :][:300]
    assert f'data-sort="{summary.picks["fastest"].number}"' in first


@pytest.mark.parametrize("condition", ["empty", "baseline only", "nothing measured", "hostile"])
def test_report_of_an_odd_study_has_no_errors(
    summary_of: Callable[[str], StudySummary], condition: str, tmp_path: Path
) -> None:
    document, said = browse(render_html(summary_of(condition)), tmp_path)
    assert said == ""
    assert "<h1>" in document

"""The documentation is built with warnings as errors, and opens in a browser without any."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from documentation import PAGES, ROOT

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
    "--enable-logging=stderr",
)
_LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"?(?:https?:)?//[^>]*>")


def build(root: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """As scripts/check does it."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-c", '. scripts/setup.sh; build_site "$1"', "bash", str(folder)],
        cwd=root,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built(site: Path) -> None:
    wanted = {page.relative_to(PAGES).with_suffix("") for page in PAGES.rglob("*.md")}
    assert wanted <= {page.relative_to(site).with_suffix("") for page in site.rglob("*.html")}


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert _LOADED.findall(text) == [], page


@pytest.mark.parametrize("link", ["nowhere.md", "concepts.md#nothing"])
def test_broken_link_fails_the_build(tmp_path: Path, link: str) -> None:
    copy = tmp_path / "project"
    for name in ("docs", "scripts"):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("README.md", "plugins/README.md"):
        (copy / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    with (copy / "docs/pages/index.md").open("a", encoding="utf-8") as page:
        page.write(f"\n[there]({link})\n")
    done = build(copy, tmp_path / "site")
    assert done.returncode == 1
    assert link in done.stderr


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH")
@pytest.mark.parametrize("page", ["index.html", "reference/commands.html", "troubleshooting.html"])
def test_page_opens_without_errors(address: str, page: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            str(CHROMIUM),
            *_OPTIONS,
            f"--user-data-dir={tmp_path}",
            "--dump-dom",
            f"{address}/{page}",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert [line for line in done.stderr.splitlines() if ":CONSOLE" in line] == []
    assert 'data-md-component="search"' in done.stdout

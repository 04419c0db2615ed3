"""A new author who does what the guide says, and nothing else, gets a measured plugin."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from autotune.demo.blueprint import BLUEPRINT_VERSION
from documentation import PAGES, Block, blocks

GUIDE = PAGES / "guides" / "write_a_plugin.md"
_COMMAND = "from autotune.cli.__main__ import main; main()"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A virtual environment of the author's own, which has this one's packages, and no network."""
    folder = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    places = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    installed = sysconfig.get_paths()["purelib"]
    line = f"import site; site.addsitedir({installed!r})\n"
    Path(places["purelib"], "those_of_the_tests.pth").write_text(line, encoding="utf-8")
    command = folder / "bin" / "autotune"
    command.write_text(f"#!{folder}/bin/python\n{_COMMAND}\n", encoding="utf-8")
    command.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)  # it measures: long where the machine is busy
def test_guide_leads_to_a_measured_plugin(
    environment: dict[str, str], tiny_model: Path, cache: Path, tmp_path: Path
) -> None:
    demo = cache / f"demo-tiny-v{BLUEPRINT_VERSION}"
    if not demo.exists():  # the very model that the guide has trained
        shutil.copytree(tiny_model, demo)
    author, said = Author(tmp_path / "own", environment), []
    for block in blocks(GUIDE):
        if block.language == "sh" and "folder of autotune" not in block.title:
            said.append(author.run(block.text))
        elif block.language == "diff":
            author.edit(block)
    told = "\n".join(said)
    print(told)  # shown if it fails
    assert told.count(" passed in ") == 2
    assert "2 ok" in told
    assert "keeps the contract" in told
    assert "low_rank keep=0.25" in told


class Author:
    """Who types what the guide says, in a folder that its commands may change."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        folder.mkdir()
        self.folder = folder
        self._environment = environment
        self._where = folder / "where.txt"

    def run(self, commands: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", f"{commands}\npwd > {self._where}"],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}"
        self.folder = Path(self._where.read_text(encoding="utf-8").strip())
        return done.stdout

    def edit(self, change: Block) -> None:
        """Puts the lines with + in the place of those with -."""
        file = self.folder / change.title.removeprefix('title="').removesuffix('"')
        lines = change.text.splitlines(keepends=True)
        old, new = ("".join(ln[1:] for ln in lines if ln[0] == sign) for sign in "-+")
        text = file.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"the guide changes what is not in {file.name}: {old}"
        file.write_text(text.replace(old, new), encoding="utf-8")

"""A distribution with one plugin, written for its author to begin with."""

from __future__ import annotations

import importlib.util
import keyword
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from string import Template

from autotune.errors import InputError
from autotune.registry import NAME

_FILES = {
    "pyproject.toml": "pyproject.toml.txt",
    "README.md": "README.md.txt",
    "{package}/__init__.py": "init.py.txt",
    "{package}/py.typed": "",
    "{package}/{name}.py": "plugin.py.txt",
    "tests/test_{name}.py": "test_plugin.py.txt",
}
"""Path in the distribution → template."""


def write_distribution(
    name: str, directory: Path | None, installed: Mapping[str, str]
) -> list[Path]:
    """Writes a distribution that can be installed, and whose tests pass.

    Args:
        name: The plugin's.
        directory: It must not exist; None takes ``autotune-NAME`` here.
        installed: Names of the plugins that are there already, with their distributions.

    Returns:
        The files; their common folder is the distribution's.

    Raises:
        InputError: The name is none or taken, or the folder exists or cannot be made.
    """
    _check_name(name, installed)
    words = _words(name)
    folder = directory or Path(words["distribution"])
    if folder.exists():
        raise InputError(f"{folder} exists already; name another folder with --directory")
    texts = {
        folder / path.format(**words): _text(template).substitute(words)
        for path, template in _FILES.items()
    }
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}; name another folder with --directory"
        ) from error
    return list(texts)


def _check_name(name: str, installed: Mapping[str, str]) -> None:
    if not re.fullmatch(NAME, name) or keyword.iskeyword(name):
        raise InputError(
            f"no name for a plugin: {name!r}; allowed: lower case letters, digits and "
            "underscores, a letter first, and no keyword of Python"
        )
    if name in installed:
        raise InputError(
            f"there is already a plugin named {name!r}, from {installed[name]}; "
            "choose another name"
        )
    package = _words(name)["package"]
    if importlib.util.find_spec(package) is not None:
        raise InputError(
            f"there is already a package named {package}, which the plugin {name!r} would be in; "
            "choose another name"
        )


def _words(name: str) -> dict[str, str]:
    return {
        "name": name,
        "package": f"autotune_{name}",
        "distribution": f"autotune-{name.replace('_', '-')}",
        "class_name": "".join(part.capitalize() for part in name.split("_")) + "Plugin",
    }


def _text(template: str) -> Template:
    if not template:
        return Template("")
    return Template((files(__package__) / "scaffold" / template).read_text(encoding="utf-8"))

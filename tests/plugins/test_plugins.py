from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import autotune_plugins
from autotune_plugins import PLUGINS

HEAVY = ("torch", "transformers", "torchao")


def test_import_is_light() -> None:
    code = "import autotune_plugins, json, sys; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(HEAVY) & set(json.loads(done.stdout))


def test_every_file_is_one_registered_plugin() -> None:
    folder = Path(autotune_plugins.__file__).parent
    files = {path.stem for path in folder.glob("[!_]*.py")}
    assert {plugin.__module__.rpartition(".")[2] for plugin in PLUGINS} == files
    assert {plugin.name for plugin in PLUGINS} == files


def test_every_plugin_says_what_it_does_in_one_sentence_and_what_to_expect() -> None:
    for plugin in PLUGINS:
        first, _, rest = (plugin.__doc__ or "").strip().partition("\n")
        assert first.endswith(".")
        assert rest.strip()


def test_every_plugin_is_in_the_readme() -> None:
    readme = Path(autotune_plugins.__file__).parents[1] / "README.md"
    text = readme.read_text(encoding="utf-8")
    for plugin in PLUGINS:
        assert f"| `{plugin.name}` |" in text
        for param in plugin.params:
            assert f"`{param}`" in text


def test_every_param_explains_itself_and_contains_its_values() -> None:
    for plugin in PLUGINS:
        for param in plugin.params.values():
            assert param.help
            assert all(param.contains(value) for value in param.values())
            assert param.contains(param.default)

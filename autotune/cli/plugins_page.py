"""The plugins as a page in Markdown: what each does, its params and what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from autotune.markdown import table

_HEAD = """\
# Plugins

Written by `scripts/docs` from the plugins themselves (`autotune plugins list --markdown`). A
plugin whose params are all at their defaults, the values in bold, is off. The stage says what
another value costs: a new model (`model`; accuracy is measured anew), a new process (`setup`), or
nothing but a new measurement (`run`). `autotune plugins check` tries every value on your machine.
"""


def page(plugins: Sequence[Mapping[str, Any]]) -> str:
    """The whole page.

    Args:
        plugins: The facts of each, as ``autotune plugins list --json`` prints them.
    """
    links = ([f"[{p['name']}](#{p['name']})", p["summary"], _needs(p)] for p in plugins)
    overview = table(("plugin", "what it does", "needs"), links)
    return "\n".join((_HEAD, overview, *map(_section, plugins)))


def _section(plugin: Mapping[str, Any]) -> str:
    rows = (
        [f"`{p['name']}`", _values(p), p["stage"], _when(p), p["help"]] for p in plugin["params"]
    )
    params = table(("param", "values", "stage", "active when", "meaning"), rows)
    return f"## {plugin['name']}\n\n{plugin['description']}\n\n{params}"


def _values(param: Mapping[str, Any]) -> str:
    default = str(param["default"])
    words = str(param["values"]).split(", ")
    if default in words:
        return ", ".join(f"**{word}**" if word == default else word for word in words)
    return f"{param['values']}; **{default}**"


def _when(param: Mapping[str, Any]) -> str:
    return f"`{param['when']}`" if param["when"] else ""


def _needs(plugin: Mapping[str, Any]) -> str:
    tasks = [f"a {' or '.join(plugin['tasks'])} model"] if plugin["tasks"] else []
    device = [{"cuda": "a GPU", "cpu": "a CPU"}[plugin["device"]]] if plugin["device"] else []
    workload = [plugin["workload"]] if plugin["workload"] else []
    return ", ".join((*tasks, *device, *plugin["packages"], *workload))

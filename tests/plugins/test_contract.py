"""Every built-in plugin keeps the contract that third parties' plugins are held to."""

from __future__ import annotations

import autotune_plugins
from autotune.testing import PluginContract


def contract(plugin: type) -> type[PluginContract]:
    """A test class for one plugin: a plugin that is registered is tested, without a line here."""
    return type(f"Test{plugin.__name__}", (PluginContract,), {"plugin": plugin})


for _plugin in autotune_plugins.PLUGINS:
    globals()[f"Test{_plugin.__name__}"] = contract(_plugin)

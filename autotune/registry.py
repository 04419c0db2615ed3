"""Finds plugins by entry point and checks them at the door."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from autotune.errors import InputError, PluginError, unknown_name
from autotune.params import Choice, Float, Int, Param, Scalar, Stage
from autotune.plugin import Phase, Plugin, Requires

GROUP = "autotune.plugins"
"""The entry point group; each value is a module with a ``PLUGINS`` tuple of Plugin classes."""

NAME = r"[a-z][a-z0-9_]*"
"""What plugins and params may be called."""


@dataclass(frozen=True)
class Registry:
    """The plugins of this installation."""

    plugins: Mapping[str, Plugin] = field(default_factory=dict)
    distributions: Mapping[str, str] = field(default_factory=dict)
    """Plugin name → ``distribution version`` that it came from."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Plugin name → hash of the source files beside it: new code is a new output."""

    def get(self, name: str) -> Plugin:
        """Looks a plugin up.

        Raises:
            InputError: There is none of that name.
        """
        if name not in self.plugins:
            raise InputError(unknown_name("plugin", name, self.plugins))
        return self.plugins[name]

    def select(self, names: Iterable[str] | None) -> Registry:
        """The registry cut down to some plugins; None keeps all."""
        if names is None:
            return self
        chosen = {name: self.get(name) for name in names}
        return Registry(
            chosen,
            {name: self.distributions[name] for name in chosen},
            {name: self.sources.get(name, "") for name in chosen},
        )


@functools.cache
def installed() -> Registry:
    """Loads every plugin that an installed distribution offers.

    Raises:
        PluginError: One of them breaks the contract; names plugin and distribution.
    """
    plugins: dict[str, Plugin] = {}
    distributions: dict[str, str] = {}
    sources: dict[str, str] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda e: e.value):
        source = f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.value
        for plugin in _offered(entry, source):
            if plugin.name in plugins:
                raise PluginError(
                    f"two plugins are named {plugin.name!r}: one from "
                    f"{distributions[plugin.name]}, one from {source}; uninstall one of them"
                )
            plugins[plugin.name] = plugin
            distributions[plugin.name] = source
            sources[plugin.name] = _source_hash(plugin)
    return Registry(dict(sorted(plugins.items())), distributions, sources)


@functools.cache
def _folder_hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def _source_hash(plugin: Plugin) -> str:
    """Of the module's whole folder if it is a package's, else of the one file."""
    file = Path(inspect.getfile(type(plugin)))
    if (file.parent / "__init__.py").is_file():
        return _folder_hash(file.parent)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _offered(entry: importlib.metadata.EntryPoint, source: str) -> list[Plugin]:
    try:
        module = entry.load()
    except Exception as error:
        raise PluginError(
            f"the plugins of {source} cannot be imported: {type(error).__name__}: {error}; "
            f"repair or uninstall that distribution"
        ) from error
    if not isinstance(getattr(module, "PLUGINS", None), tuple):
        raise PluginError(f"{entry.value} of {source} has no tuple named PLUGINS")
    return [checked(offered, source) for offered in module.PLUGINS]


def checked(offered: object, source: str) -> Plugin:
    """Builds a plugin from its class, or refuses it.

    Args:
        offered: What a distribution's ``PLUGINS`` tuple holds.
        source: The distribution, for the error.

    Raises:
        PluginError: It breaks the contract.
    """
    if not (isinstance(offered, type) and issubclass(offered, Plugin)):
        raise PluginError(f"{offered!r} of {source} is not a subclass of autotune.Plugin")
    problems = list(_problems(offered))
    if problems:
        name = getattr(offered, "name", offered.__name__)
        raise PluginError(f"plugin {name!r} of {source} was refused: {'; '.join(problems)}")
    try:
        return offered()
    except Exception as error:
        raise PluginError(
            f"plugin {offered.name!r} of {source} cannot be built without arguments: "
            f"{type(error).__name__}: {error}"
        ) from error


def _problems(cls: type[Plugin]) -> Iterable[str]:
    name = getattr(cls, "name", None)
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        yield f"its name is {name!r}; expected lower case letters, digits and underscores"
    if not (cls.__doc__ or "").strip() or cls.__doc__ == Plugin.__doc__:
        yield "it has no docstring; its first line is what `autotune plugins list` shows"
    if not isinstance(getattr(cls, "phase", None), Phase):
        yield f"its phase is {cls.phase!r}; expected one of {', '.join(Phase)}"
    requires: object = cls.requires
    if not isinstance(requires, Requires):
        yield f"its requires is {requires!r}; expected Requires(...)"
    conflicts: object = cls.conflicts
    if not isinstance(conflicts, tuple):
        yield f"its conflicts is {conflicts!r}; expected a tuple of plugin names"
    params = getattr(cls, "params", None)
    if not isinstance(params, Mapping) or not params:
        yield "it declares no params"
        return
    earlier: list[str] = []
    for key, param in params.items():
        yield from _param_problems(key, param, {k: params[k] for k in earlier})
        earlier.append(key)


def _param_problems(key: object, param: object, earlier: Mapping[str, Param]) -> Iterable[str]:
    if not isinstance(param, Choice | Int | Float):
        yield f"param {key!r} is {param!r}; expected Choice, Int or Float"
        return
    if not isinstance(key, str) or not re.fullmatch(NAME, key):
        yield f"param {key!r} is no name; expected lower case letters, digits and underscores"
    stage: object = param.stage
    if not isinstance(stage, Stage):
        yield f"the stage of {key!r} is {stage!r}; expected Stage.MODEL, SETUP or RUN"
    try:
        values = param.values()
    except (ArithmeticError, ValueError) as error:
        yield f"param {key!r} has no values ({error})"
        return
    if not values:
        yield f"param {key!r} has no values ({param.describe()})"
    if not all(_serialisable(v) for v in (*values, param.default)):
        yield f"param {key!r} has values that are not JSON scalars: {param.describe()}"
    elif not param.contains(param.default):
        yield f"the default {param.default!r} of {key!r} is not allowed ({param.describe()})"
    for name in param.when:
        if name not in earlier:
            yield f"{key!r} depends on {name!r}, which is no earlier param of this plugin"
            continue
        wanted = param.when[name]
        for value in wanted if isinstance(wanted, tuple) else (wanted,):
            if not earlier[name].contains(value):
                yield f"{key!r} depends on {name!r} being {value!r}, which it can never be"


def _serialisable(value: Scalar) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(value, str | int | float | bool)

"""Plain values as JSON and back; classes and functions are named and looked up, not unpickled."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from enum import Enum
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn

from autotune import registry
from autotune.errors import AutotuneError

_PACKAGES = frozenset({"torch", "transformers", "torchao"})
"""Whose classes a file may name, besides those of installed plugins."""

_COMPUTING = frozenset({"torch.nn.functional", "transformers.activations"})
"""Modules whose functions a file may name: they compute, and do nothing else."""


class NotPlain(AutotuneError):
    """Something cannot be written as plain data. Says what it is."""


class Damaged(AutotuneError):
    """A file does not hold what was written."""


def name_of(thing: Any) -> str:
    """``module:qualified.name`` of a class or function that ``find`` will find again.

    Raises:
        NotPlain: It is of a package that is not trusted, or cannot be found by its name.
    """
    name = f"{thing.__module__}:{thing.__qualname__}"
    try:
        found = find(name)
    except Damaged as error:
        raise NotPlain(str(error)) from error
    if found is not thing:
        raise NotPlain(f"{name} names another object")
    return name


def find(name: str) -> Any:
    """What ``name_of`` has named.

    Raises:
        Damaged: It is of a package that is not trusted, is not there, or is called otherwise: what
            a module has imported is not its own.
    """
    module, _, path = name.partition(":")
    if module.split(".")[0] not in _trusted():
        raise Damaged(f"{name} is neither of torch, transformers or torchao nor of a plugin")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise Damaged(f"{name} is not installed here: {error}") from error
    own = (getattr(found, "__module__", None), getattr(found, "__qualname__", None))
    if own != (module, path):
        raise Damaged(f"{name} is no class or function of that module")
    return found


def _trusted() -> frozenset[str]:
    return _PACKAGES | _plugin_packages()


def _plugin_packages() -> frozenset[str]:
    plugins = registry.installed().plugins.values()
    return frozenset(type(plugin).__module__.split(".")[0] for plugin in plugins)


def find_class(name: str, kind: type) -> Any:
    """A class of a certain kind.

    Raises:
        Damaged: The name is of something else.
    """
    found = find(name)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise Damaged(f"{name} is no {kind.__name__}")
    return found


def encode(value: Any, owner: Any = None) -> Any:
    """A value as JSON.

    Args:
        value: Numbers, text, containers of them, torch's constants, enums, dataclasses, named
            tuples, classes and functions by name.
        owner: Functions bound to it may be among them.

    Raises:
        NotPlain: It holds something else.
    """
    if isinstance(value, Enum):
        return {"enum": [name_of(type(value)), value.name]}
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, torch.dtype | torch.layout):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": None}  # wherever it will be loaded
    if isinstance(value, type | FunctionType):
        name = name_of(value)
        if not _is_harmless(value):
            raise NotPlain(f"{name} is code that no file may name")
        return {"named": name}
    if isinstance(value, MethodType) and owner is not None and value.__self__ is owner:
        return {"method": name_of(value.__func__)}
    return _encode_container(value, owner)


def _encode_container(value: Any, owner: Any) -> Any:
    def inner(items: Any) -> list[Any]:
        return [encode(item, owner) for item in items]

    from transformers import PreTrainedConfig

    if isinstance(value, PreTrainedConfig):
        raise NotPlain("a model's configuration has a file of its own")
    if isinstance(value, torch.Size):
        return {"size": list(value)}
    if type(value) is list:
        return inner(value)
    if type(value) is tuple:
        return {"tuple": inner(value)}
    if isinstance(value, dict) and type(value).__name__ in ("dict", "OrderedDict"):
        return {"dict": [inner(pair) for pair in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        fields = value._asdict()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    else:
        raise NotPlain(f"a {type(value).__name__} is no plain data")
    made = {name: encode(field, owner) for name, field in fields.items()}
    return {"record": [name_of(type(value)), made]}


def decode(given: Any, device: str, owner: Any = None) -> Any:
    """What ``encode`` was given.

    Args:
        given: Its result.
        device: Takes the place of devices.
        owner: What functions of plugins are bound to; None where there may be none.

    Raises:
        Damaged: It is no such result.
    """
    if isinstance(given, list):
        return [decode(item, device, owner) for item in given]
    if not isinstance(given, dict):
        return given
    kind, content = _only(given)
    if kind == "dict":
        return {decode(k, device, owner): decode(v, device, owner) for k, v in content}
    if kind == "record":
        fields = {name: decode(field, device, owner) for name, field in content[1].items()}
        return _record_class(content[0])(**fields)
    if kind == "method":
        if owner is None:
            raise Damaged(f"{content} is bound to nothing")
        return MethodType(_plugin_function(content), owner)
    simple: Mapping[str, Callable[[], Any]] = {
        "enum": lambda: find_class(content[0], Enum)[content[1]],
        "float": lambda: float(content),
        "torch": lambda: _constant(content),
        "device": lambda: torch.device(device),
        "named": lambda: _named(content),
        "size": lambda: torch.Size(content),
        "tuple": lambda: tuple(decode(content, device, owner)),
    }
    if kind not in simple:
        raise Damaged(f"{kind!r} is no kind of value")
    return simple[kind]()


def _only(given: dict[str, Any]) -> tuple[str, Any]:
    if len(given) != 1:
        raise Damaged(f"a value has the keys {', '.join(given)}; expected one")
    return next(iter(given.items()))


def _record_class(name: str) -> Any:
    found = find_class(name, object)
    if not _is_record(found):
        raise Damaged(f"{name} is neither a dataclass nor a named tuple")
    return found


def _named(name: str) -> Any:
    found = find(name)
    if not _is_harmless(found):
        raise Damaged(f"{name} is code that no file may name")
    return found


def _is_harmless(thing: Any) -> bool:
    """Whether calling a class or function does no more than to compute or to hold values."""
    if isinstance(thing, type):
        return issubclass(thing, nn.Module | torch.Tensor | Enum) or _is_record(thing)
    return isinstance(thing, FunctionType) and thing.__module__ in _COMPUTING


def _is_record(kind: type) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")


def _plugin_function(name: str) -> FunctionType:
    found = find(name)
    if not isinstance(found, FunctionType) or name.split(".")[0] not in _plugin_packages():
        raise Damaged(f"{name} is no function of a plugin")
    return found


def _constant(name: str) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype | torch.layout):
        raise Damaged(f"torch.{name} is neither a dtype nor a layout")
    return found

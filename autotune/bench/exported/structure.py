"""What of a model its configuration does not say: modules, attributes, and what tensors are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from autotune.bench.exported.tensors import Tensors, is_plain, put_together, take_apart
from autotune.bench.exported.values import (
    Damaged,
    NotPlain,
    decode,
    encode,
    find_class,
    name_of,
)

Structure = dict[str, Any]
"""``modules``: path → class, configuration, children that differ from those of the model that its
configuration describes; ``attributes``: path → values that differ, and names that are gone;
``tensors``: name → what it is; ``files``: plain tensor → its file. JSON."""

Read = Callable[[str], torch.Tensor]
"""A plain tensor by its name, on the device."""

_OF_ALL_MODULES = frozenset(nn.Module().__dict__)
_BINDABLE = "forward"
"""The only attribute that may be a function bound to its module."""
_IGNORED = frozenset({"extra_repr", "name_or_path"})
"""Set on modules and never computed with."""


def describe(model: nn.Module, skeleton: nn.Module, parts: Tensors) -> Structure:
    """Finds out what is needed to make a model of the one that its configuration describes.

    Args:
        model: The model.
        skeleton: Built from its configuration, without weights; is given the model's modules.
        parts: Its tensors are added.

    Raises:
        NotPlain: Something in it is no plain data; names it.
    """
    modules: dict[str, Any] = {}
    _compare_modules(model, skeleton, "", modules)
    skeleton = _with_modules(skeleton, modules)
    attributes = dict(_differing_attributes(model, skeleton))
    return {
        "modules": modules,
        "attributes": attributes,
        "tensors": _describe_tensors(model, parts),
    }


def is_ordinary(structure: Structure, model: nn.Module, skeleton: nn.Module) -> bool:
    """Whether transformers makes the same model of its configuration and plain weights.

    Args:
        structure: From ``describe``.
        model: The model.
        skeleton: Built from its configuration.
    """
    if structure["modules"] or structure["attributes"]:
        return False
    tensors = structure["tensors"].values()
    if not all(is_plain(entry["made"]) for entry in tensors if "made" in entry):
        return False
    formats = {p.dtype for p in model.parameters()}
    return len(formats) == 1 and _shapes(model) == _shapes(skeleton)


def _shapes(model: nn.Module) -> dict[str, torch.Size]:
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    return {name: tensor.shape for name, tensor in named}


def _compare_modules(
    module: nn.Module, other: nn.Module | None, path: str, found: dict[str, Any]
) -> None:
    entry: dict[str, Any] = {}
    if other is None or type(other) is not type(module):
        entry = _new_module(module, path)
        other = _make(entry)
    names = [name for name, child in module._modules.items() if child is not None]
    if names != [name for name, child in other._modules.items() if child is not None]:
        entry["children"] = names
    if entry:
        found[path] = entry
    for name in names:
        child = module._modules[name]
        assert child is not None
        below = f"{path}.{name}" if path else name
        _compare_modules(child, other._modules.get(name), below, found)


def _new_module(module: nn.Module, path: str) -> dict[str, Any]:
    from transformers import PreTrainedModel

    try:
        entry: dict[str, Any] = {"class": name_of(type(module))}
        if isinstance(module, PreTrainedModel):
            given = module.config
            entry["config"] = [name_of(type(given)), given.to_dict()]
    except NotPlain as error:
        raise NotPlain(f"its module {path or 'itself'} cannot be built again: {error}") from error
    return entry


def _make(entry: Mapping[str, Any]) -> nn.Module:
    kind = find_class(entry["class"], nn.Module)
    with torch.device("meta"):
        if "config" in entry:
            from transformers import PreTrainedConfig

            name, given = entry["config"]
            config = find_class(name, PreTrainedConfig).from_dict(given)
            made: nn.Module = kind._from_config(config).eval()
            return made
        made = kind.__new__(kind)
        nn.Module.__init__(made)  # what its own would set are attributes, and are written
    return made.eval()


def _with_modules(skeleton: nn.Module, modules: Mapping[str, Any]) -> nn.Module:
    for path in sorted(modules, key=lambda path: path.count(".") + bool(path)):
        entry = modules[path]
        if "class" in entry:
            made = _make(entry)
            parent, _, name = path.rpartition(".")
            if not path:
                skeleton = made
            else:
                skeleton.get_submodule(parent)._modules[name] = made
        if "children" in entry:
            module = skeleton.get_submodule(path)
            own = dict(module._modules)
            module._modules.clear()
            module._modules.update({name: own.get(name) for name in entry["children"]})
    return skeleton


def _differing_attributes(
    model: nn.Module, skeleton: nn.Module
) -> Iterator[tuple[str, dict[str, Any]]]:
    others = dict(skeleton.named_modules(remove_duplicate=False))
    for path, module in model.named_modules(remove_duplicate=False):
        _refuse_hooks(module, path)
        own, other = _attributes(module), _attributes(others[path])
        values = {
            name: encoded
            for name, value in own.items()
            for encoded in _differing(f"{path}.{name}", value, name, (module, others[path]))
        }
        gone = sorted(other.keys() - own.keys())
        if values or gone:
            yield path, {"values": values, "gone": gone}


def _attributes(module: nn.Module) -> dict[str, Any]:
    from transformers import PreTrainedModel

    found = {k: v for k, v in module.__dict__.items() if k not in _OF_ALL_MODULES | _IGNORED}
    # transformers notes there how a model came to be.
    noted = ("_", "hf_") if isinstance(module, PreTrainedModel) else ("_is_hf_", "_hf_")
    return {name: value for name, value in found.items() if not name.startswith(noted)}


def _differing(where: str, value: Any, name: str, sides: tuple[nn.Module, nn.Module]) -> list[Any]:
    """The value as JSON, if it differs from the skeleton's."""
    module, other = sides
    missing = name not in other.__dict__
    try:
        encoded = encode(value, module if name == _BINDABLE else None)
    except NotPlain as error:
        if missing or type(other.__dict__[name]) is not type(value):
            raise NotPlain(f"its attribute {where} cannot be written: {error}") from error
        return []  # made from the configuration, as the skeleton's
    if not missing:
        try:
            if encode(other.__dict__[name], other if name == _BINDABLE else None) == encoded:
                return []
        except NotPlain:
            pass  # it differs
    if _replaces(module, name, encoded):
        raise NotPlain(f"its attribute {where} takes the place of code of its class")
    return [encoded]


def _replaces(module: nn.Module, name: str, encoded: Any) -> bool:
    """Whether an attribute takes the place of code of a module's class, or of a module's state: a
    file could have other code called by it. ``forward`` may be a plugin's."""
    if name == _BINDABLE:
        return not (isinstance(encoded, dict) and "method" in encoded)
    own = inspect.getattr_static(type(module), name, None)
    return name in _OF_ALL_MODULES or callable(own) or hasattr(own, "__get__")


def _refuse_hooks(module: nn.Module, path: str) -> None:
    hooks = [*module._forward_pre_hooks.values(), *module._forward_hooks.values()]
    foreign = [h for h in hooks if not getattr(h, "__module__", "").startswith("transformers.")]
    if foreign:
        raise NotPlain(f"its module {path or 'itself'} has a hook, which is code")


def _describe_tensors(model: nn.Module, parts: Tensors) -> dict[str, Any]:
    found: dict[str, Any] = {}
    first: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
            if tensor is None:
                continue
            full = f"{path}.{name}" if path else name
            entry: dict[str, Any] = {"module": path, "name": name}
            if name in module._buffers:
                entry["persistent"] = name not in module._non_persistent_buffers_set
            if id(tensor) in first:
                entry["same_as"] = first[id(tensor)]
            else:
                first[id(tensor)] = full
                entry["made"] = take_apart(full, tensor.data, parts)
            found[full] = entry
    return found


def rebuild(skeleton: nn.Module, structure: Structure, read: Read, device: str) -> nn.Module:
    """Makes the model that ``describe`` was given.

    Args:
        skeleton: Built from the same configuration, without weights.
        structure: From ``describe``.
        read: A plain tensor by its name, on the device.
        device: Where the tensors are.

    Raises:
        Damaged: The structure or its tensors are not what was written.
    """
    try:
        model = _with_modules(skeleton, structure["modules"])
        for path, entry in structure["attributes"].items():
            _set_attributes(model.get_submodule(path), entry, device)
        _set_tensors(model, structure["tensors"], read, device)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise Damaged(f"{type(error).__name__}: {error}") from error
    left = [name for name, weight in model.named_parameters() if weight.is_meta]
    if left:
        raise Damaged(f"{len(left)} weights are not there, e.g. {left[0]}")
    return model


def _set_attributes(module: nn.Module, entry: Mapping[str, Any], device: str) -> None:
    for name in entry["gone"]:
        if name in _OF_ALL_MODULES:
            raise Damaged(f"it takes {name} from a module")
        module.__dict__.pop(name, None)
    for name, value in entry["values"].items():
        if _replaces(module, name, value):
            raise Damaged(f"its attribute {name} takes the place of a {type(module).__name__}'s")
        module.__dict__[name] = decode(value, device, module if name == _BINDABLE else None)


def _set_tensors(model: nn.Module, entries: Mapping[str, Any], read: Read, device: str) -> None:
    for module in model.modules():
        for held in (module._parameters, module._buffers):
            held.update(dict.fromkeys(held))
    made: dict[str, torch.Tensor] = {}
    for full, entry in entries.items():
        is_buffer = "persistent" in entry
        if "same_as" in entry:
            tensor = made[entry["same_as"]]
        else:
            tensor = put_together(full, entry["made"], read, device)
            tensor = tensor if is_buffer else nn.Parameter(tensor, requires_grad=False)
        made[full] = tensor
        module = model.get_submodule(entry["module"])
        if is_buffer:
            module._buffers.pop(entry["name"], None)
            module.register_buffer(entry["name"], tensor, persistent=entry["persistent"])
        else:
            module._parameters[entry["name"]] = tensor  # type: ignore[assignment]

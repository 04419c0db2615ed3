"""LoRA adapters beside one another in a model: which of them each row of a batch goes through."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from autotune.bench.meters.memory import is_offloaded
from autotune.engine import Batch
from autotune.errors import InputError
from autotune.messages import AdapterFile
from autotune.plugin import Phase, Plugin, Processes, Unsupported
from autotune.workload.adapters import CONFIG, WEIGHTS

KEY = "adapter"
"""In a batch: the number of each sequence's adapter."""

_KNOWN = ("Already found a `peft_config`", ".*get_apply_tensor_subclass")
"""What peft warns of: there are several adapters, and they cannot be merged into such weights."""

Row = int | None
"""The number of an adapter; None: the model itself."""


class Adapters:
    """Adapters that peft has put into a model (Hu et al., LoRA, 2021). Batches go through any of
    them, each row through its own."""

    def __init__(self, model: Any, files: Sequence[AdapterFile], layers: int | None) -> None:
        """
        Args:
            model: Of transformers, in which all transforms are done. Changed.
            files: Each is known by its place.
            layers: Of the model before any transform.

        Raises:
            Unsupported: One does not fit the model as plugins have made it.
            InputError: One is not on this machine.
        """
        _require_adaptable_layers(model, layers)
        for number, file in enumerate(files):
            _put_in(model, _name(number), file)
        self._layers = lora_layers(model)
        self._rows: tuple[Row, ...] = ()
        self._names: list[str] = []
        """Of the adapter of each row, where rows differ."""
        self._switched_to: Row = 0
        for layer in self._layers:
            layer.register_forward_pre_hook(self._tell, with_kwargs=True)
        self._switch(None)

    def use(self, rows: Sequence[Row]) -> None:
        """Sends what comes next through adapters.

        Args:
            rows: That of each row; none: the model itself.
        """
        if tuple(rows) == self._rows:
            return
        self._rows = tuple(rows)
        if len(set(rows)) > 1:
            self._names = [_name(row) for row in rows]
            self._switch(max(row for row in rows if row is not None))  # any but the model itself
        else:
            self._names = []
            self._switch(rows[0] if rows else None)

    def _switch(self, row: Row) -> None:
        if row == self._switched_to:
            return
        turned = (row is None) != (self._switched_to is None)
        self._switched_to = row
        for layer in self._layers:
            if turned:
                layer.enable_adapters(row is not None)
            if row is not None:
                layer.set_adapter(_name(row), inference_mode=True)

    def _tell(self, module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        return (args, {**kwargs, "adapter_names": self._names}) if self._names else None


def by_adapter(batch: Batch) -> Iterator[tuple[int, torch.Tensor, Batch]]:
    """The parts of a batch that are for one adapter each.

    Args:
        batch: With ``KEY``.

    Yields:
        The adapter's number, the places of its sequences, ``[sequences]``, and those without
        ``KEY``.
    """
    numbers = batch[KEY]
    plain = {name: tensor for name, tensor in batch.items() if name != KEY}
    for number in sorted(set(numbers.tolist())):
        places = (numbers == number).nonzero().flatten()
        yield number, places, {name: tensor[places] for name, tensor in plain.items()}


def lora_layers(model: Any) -> list[Any]:
    """The layers to which peft has added adapters; none where it was not even imported."""
    if "peft" not in sys.modules:
        return []
    from peft.tuners.lora import LoraLayer

    return [module for module in model.modules() if isinstance(module, LoraLayer)]


def require_adaptable(plugins: Mapping[str, Plugin], processes: Processes) -> None:
    """
    Raises:
        Unsupported: A model that is run in such a way cannot change its adapters.
    """
    if processes.count > 1:
        raise Unsupported("LoRA adapters are served by one process that holds the whole model")
    if late := [name for name, plugin in plugins.items() if plugin.phase is Phase.COMPILE]:
        raise Unsupported(
            f"plugin {late[0]!r} compiles one model, and adapters make it another from batch to "
            "batch"
        )


def import_libraries() -> None:
    """All that putting an adapter into a model imports, some of it when it meets the first linear:
    it counts neither as the model's memory nor as time."""
    from peft import LoraConfig, inject_adapter_in_model

    model = torch.nn.Sequential(torch.nn.Linear(1, 1))
    inject_adapter_in_model(LoraConfig(r=1, target_modules=["0"]), model)


def count_layers(model: Any) -> int | None:
    """How many a model of transformers has; None where its configuration does not say.

    Args:
        model: Anything.
    """
    return getattr(getattr(model, "config", None), "num_hidden_layers", None)


def _put_in(model: Any, name: str, file: AdapterFile) -> None:
    from peft import PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
    from safetensors.torch import load_file

    folder = Path(file.path)
    if absent := [part for part in (CONFIG, WEIGHTS) if not (folder / part).is_file()]:
        raise InputError(f"there is no {folder / absent[0]} on this machine: requests ask for it")
    config = PeftConfig.from_pretrained(file.path)
    config.inference_mode, config.init_lora_weights = True, False  # leaves the model's own alone
    try:
        with warnings.catch_warnings():
            for known in _KNOWN:
                warnings.filterwarnings("ignore", known)
            inject_adapter_in_model(config, model, name)
    except (ValueError, TypeError) as error:
        raise _misfit(file, str(error)) from error
    try:
        loaded: Any = set_peft_model_state_dict(model, load_file(folder / WEIGHTS), name)
    except RuntimeError as error:
        if "size mismatch" not in str(error):
            raise
        raise _misfit(file, str(error)) from error
    unfilled = [key for key in loaded.missing_keys if f".{name}." in key]
    if keys := [*unfilled, *loaded.unexpected_keys]:
        raise _misfit(file, f"there is no match for {', '.join(keys[:3])}")
    model.requires_grad_(False).eval()


def _misfit(file: AdapterFile, why: str) -> Unsupported:
    return Unsupported(
        f"the adapter {file.name} does not fit the model as this recipe has made it: "
        f"{' '.join(why.split())[:300]}"
    )


def _require_adaptable_layers(model: Any, layers: int | None) -> None:
    """An adapter names layers by their numbers, which have moved where one is gone; and is put
    where a layer's weights are."""
    left = count_layers(model)
    if left != layers:
        raise Unsupported(f"adapters are for {layers} layers, and this recipe's model has {left}")
    if any(map(is_offloaded, model.parameters())):
        raise Unsupported("LoRA adapters are not served beside layers that are kept elsewhere")


def _name(row: Row) -> str:
    return "__base__" if row is None else f"adapter_{row}"

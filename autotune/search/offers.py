"""What plugins can do on a device with a model: what their ``check`` says, before any trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autotune.device import Device
from autotune.params import Params
from autotune.plugin import Plugin
from autotune.space import Refusal, needed_workload, offered

STAND_IN_NAME = "a Llama of 8 billion parameters in bfloat16"
STAND_IN: Mapping[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "bfloat16",
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
"""Of Meta-Llama-3-8B: where no model is named, few refusals lie in one like this."""

_REASONS = 3
"""Shown of the reasons of one plugin; the rest is counted."""


@dataclass(frozen=True)
class Offer:
    """What a plugin can do here."""

    possible: tuple[Params, ...]
    """Choices of its values that may be tried, off not among them."""
    refused: tuple[Refusal, ...]
    """One without params if all of the plugin is."""
    workload: str
    """What it needs of the workload besides, in words; empty if nothing."""

    def in_words(self, reasons: int = _REASONS) -> str:
        """Whether it applies, and why not.

        Args:
            reasons: At most so many are told, the most frequent first.
        """
        yes = f"yes, with {self.workload}" if self.workload else "yes"
        if not self.refused:
            return yes
        found = Counter(refusal.reason for refusal in self.refused).most_common()
        whys = "; ".join(why for why, _ in found[:reasons])
        if (left := len(found) - reasons) > 0:
            whys += f"; and {left} more reason{'s' * (left > 1)}"
        if not self.possible:
            return f"no: {whys}"
        choices = len(self.possible) + len(self.refused)
        return f"{yes}; refused: {len(self.refused)} of {choices} choices ({whys})"


@dataclass(frozen=True)
class Place:
    """A device, and the model that would run on it."""

    device: Device
    task: str = ""
    """The model's; empty: one that the plugin knows."""
    model_config: Mapping[str, Any] = field(default_factory=lambda: STAND_IN)
    """The model's ``config.json``."""
    model: str = ""
    """Its name; empty for the stand-in."""

    @property
    def words(self) -> str:
        """What was asked of the plugins."""
        model = self.model or f"{STAND_IN_NAME}; --model M asks for yours"
        return f"on {self.device.name} ({self.device.kind}), for {model}"

    def offer(self, plugin: Plugin, allow_power_changes: bool = False) -> Offer:
        """Asks a plugin for each choice of its values.

        Args:
            plugin: The plugin.
            allow_power_changes: The user's consent to what sets something of the device.
        """
        possible, refused = offered(
            plugin,
            {},
            task=self.task or next(iter(plugin.requires.tasks), "causal-lm"),
            model_config=self.model_config,
            device=self.device,
            traits=None,
            allow_power_changes=allow_power_changes,
        )
        return Offer(tuple(possible), tuple(refused), needed_workload(plugin))

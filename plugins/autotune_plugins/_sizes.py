"""How many weights each part of a model has, read from its config alone; no plugin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BITS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16}
"""Bits per weight, by the name of the dtype."""


def checkpoint_dtype(config: Mapping[str, Any]) -> str:
    """The dtype in which a checkpoint was saved; one that does not say so is float32."""
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return dtype.removeprefix("torch.")


@dataclass(frozen=True)
class Shares:
    """What part of all weights stands where; the rest is embeddings and head."""

    attention: float
    mlp: float

    @property
    def linear(self) -> float:
        return self.attention + self.mlp


def shares(config: Mapping[str, Any]) -> Shares | None:
    """Counts the weights of a plain transformer.

    Returns:
        The shares, or None where the config does not name its sizes in the usual way.
    """
    try:
        attention, mlp = _attention_weights(config), _mlp_weights(config)
        embeddings = _embedding_weights(config)
    except KeyError:
        return None
    total = attention + mlp + embeddings
    return Shares(attention / total, mlp / total)


def _attention_weights(config: Mapping[str, Any]) -> int:
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    key_value_heads = config.get("num_key_value_heads") or heads
    per_layer = config["hidden_size"] * head_dim * 2 * (heads + key_value_heads)
    return int(config["num_hidden_layers"] * per_layer)


def _mlp_weights(config: Mapping[str, Any]) -> int:
    matrices = 2 if _is_bert_like(config) else 3  # others gate their MLP
    per_layer = matrices * config["hidden_size"] * config["intermediate_size"]
    return int(config["num_hidden_layers"] * per_layer)


def _embedding_weights(config: Mapping[str, Any]) -> int:
    rows = config["vocab_size"]
    if _is_bert_like(config):
        rows += config["max_position_embeddings"]
    elif not config.get("tie_word_embeddings", False):
        rows *= 2
    return int(rows * config["hidden_size"])


def _is_bert_like(config: Mapping[str, Any]) -> bool:
    return "type_vocab_size" in config

"""Key-value caches by the names that recipes give them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from autotune.plugin import Unsupported

SINKS = 4
"""The first tokens, which a sliding cache keeps: attention rests on them, whatever they say (Xiao
et al., Efficient Streaming Language Models with Attention Sinks, 2023)."""

LOSSY = ("quantized", "sliding")
"""Kinds with which the model gives other numbers."""

_GROWING = ("dynamic", "offloaded", *LOSSY)


def growing_cache(config: Any, run_args: Mapping[str, Any]) -> Cache:
    """A new cache that grows with what it holds.

    Args:
        config: The model's.
        run_args: ``cache``, the kind, and what belongs to it: ``cache_bits``, ``cache_window``.

    Raises:
        Unsupported: There is no such kind, or the model's layers cannot use it.
    """
    kind = run_args["cache"]
    if kind not in _GROWING:
        raise Unsupported(
            f"no key-value cache kind {kind!r}; allowed: static, {', '.join(_GROWING)}"
        )
    if kind not in LOSSY:
        return DynamicCache(config=config, offloading=kind == "offloaded")
    decoder = config.get_text_config(decoder=True)
    others = set(getattr(decoder, "layer_types", None) or ()) - {"full_attention"}
    if others:
        raise Unsupported(
            f"a {kind} key-value cache is for layers that attend to all tokens; this model also "
            f"has {', '.join(sorted(others))} layers"
        )
    layers: list[DynamicLayer] = [
        QuantizedLayer(run_args["cache_bits"])
        if kind == "quantized"
        else SlidingLayer(run_args["cache_window"])
        for _ in range(decoder.num_hidden_layers)
    ]
    return Cache(layers=layers)


class Codes:
    """Numbers in a few bits each, several in a byte; every row has its own scale and offset.

    Asymmetric uniform quantization, ``x ≈ low + scale · code``: the extremes of a row are exact.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._parts: tuple[torch.Tensor, ...] = ()

    def append(self, states: torch.Tensor) -> None:
        """Adds rows.

        Args:
            states: ``[batch, heads, tokens, head_dim]``; a row is one token of one head.
        """
        exact = states.float()
        low, high = exact.aminmax(dim=-1, keepdim=True)
        scale = ((high - low) / (2**self._bits - 1)).clamp_min(torch.finfo(torch.float32).tiny)
        new = self._pack(((exact - low) / scale).round().byte()), scale, low
        pairs = zip(self._parts, new, strict=True) if self._parts else ((part,) for part in new)
        self._parts = tuple(torch.cat(list(parts), dim=-2) for parts in pairs)

    def numbers(self, dtype: torch.dtype) -> torch.Tensor:
        """All rows as the numbers they stand for, ``[batch, heads, tokens, head_dim]``."""
        packed, scale, low = self._parts
        return (self._unpack(packed) * scale + low).to(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes of codes, scales and offsets."""
        return sum(part.nbytes for part in self._parts)

    def _pack(self, codes: torch.Tensor) -> torch.Tensor:
        in_a_byte = 8 // self._bits
        if codes.shape[-1] % in_a_byte:
            raise Unsupported(
                f"heads of {codes.shape[-1]} numbers cannot be packed {in_a_byte} to a byte"
            )
        packed = codes[..., 0::in_a_byte].clone()
        for i in range(1, in_a_byte):
            packed |= codes[..., i::in_a_byte] << (i * self._bits)
        return packed

    def _unpack(self, packed: torch.Tensor) -> torch.Tensor:
        mask = 2**self._bits - 1
        parts = [(packed >> shift) & mask for shift in range(0, 8, self._bits)]
        return torch.stack(parts, dim=-1).flatten(-2)


class QuantizedLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in few bits.

    Each token is quantized when it comes, and attended to as what its codes stand for, its own
    pass included: the numbers do not depend on how a text is cut into passes.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.codes = Codes(bits), Codes(bits)
        self._tokens = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds tokens, ``[batch, heads, tokens, head_dim]`` each, and returns all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self._tokens += key_states.shape[-2]
        keys, values = self.codes
        keys.append(key_states)
        values.append(value_states)
        return keys.numbers(key_states.dtype), values.numbers(value_states.dtype)

    def get_seq_length(self) -> int:
        """How many tokens came so far."""
        return self._tokens


class SlidingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of the first few and the latest tokens of one layer.

    What comes in one pass sees all of itself, so a prompt is read whole; what is kept for later
    passes are ``SINKS`` tokens of its beginning and the ``window`` latest ones.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self._window = window
        self._tokens = 0

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds tokens, ``[batch, heads, tokens, head_dim]`` each, and returns what they see."""
        keys, values = super().update(key_states, value_states, *args, **kwargs)
        self._tokens += key_states.shape[-2]
        self.keys, self.values = self._kept(keys), self._kept(values)
        return keys, values

    def _kept(self, states: torch.Tensor) -> torch.Tensor:
        if states.shape[-2] <= SINKS + self._window:
            return states
        ends = states[..., :SINKS, :], states[..., -self._window :, :]
        return torch.cat(ends, dim=-2)

    def get_seq_length(self) -> int:
        """How many tokens came so far, kept or not: the position of the next one."""
        return self._tokens

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Length and offset of what the next pass sees. All that is kept lies in its past: as if
        it were the latest tokens."""
        kept = self.keys.shape[-2] if self.is_initialized else 0
        return kept + query_length, self._tokens - kept

"""Sequences of different lengths that go through a causal language model together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.functional import pad

Pass = Callable[..., torch.Tensor]
"""Token ids ``[rows, tokens]``, a cache, the adapter of each row, and further arguments of
``model.forward`` to logits of the last position, ``[rows, 1, vocabulary]``."""

Held = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of some tokens of one sequence: of each layer ``[heads, tokens, head_dim]``."""


class Rows:
    """Sequences with their keys and values, one in each row.

    All end at the same column, so that the next token of each comes into the same new one. What
    a row lacks lies to its left and is masked; positions count from a row's own first token.
    """

    def __init__(self, run: Pass, new_cache: Callable[[], Any]) -> None:
        """
        Args:
            run: A pass of the model.
            new_cache: Makes an empty cache whose layers attend to all tokens and grow.
        """
        self._run = run
        self._new_cache = new_cache
        self._cache = new_cache()
        self._lengths: list[int] = []
        """Tokens of each row whose keys and values are held."""
        self._adapters: list[int | None] = []
        """That of each row."""
        self._latest = torch.empty(0)
        """The token that each row said last, ``[rows, 1]``."""
        self.logits = torch.empty(0)
        """Of the latest pass."""

    def prefill(
        self,
        prompts: Sequence[torch.Tensor],
        known: Sequence[Held],
        adapters: Sequence[int | None],
    ) -> list[int]:
        """Fills all rows anew, in one pass.

        Args:
            prompts: Token ids of each row, ``[tokens]``, on the model's device.
            known: Keys and values of the first tokens of each; empty lists where there are none.
            adapters: The number of each row's; None: the model itself.

        Returns:
            The first token that each row says.
        """
        self._adapters = list(adapters)
        before = [held[0][0].shape[-2] if held else 0 for held in known]
        rest = [prompt[n:] for prompt, n in zip(prompts, before, strict=True)]
        sizes, longest = [len(ids) for ids in rest], max(map(len, rest))
        self._cache = self._filled(known, max(before))
        ids = torch.stack([pad(ids, (longest - len(ids), 0)) for ids in rest])
        mask = torch.cat([_at_right(before, ids.device), _at_right(sizes, ids.device)], dim=1)
        columns = torch.arange(longest, device=ids.device) - longest
        ends = torch.tensor([len(prompt) for prompt in prompts], device=ids.device)
        positions = (columns + ends[:, None]).clamp(min=0)
        full = len(set(before)) == 1 and len(set(sizes)) == 1
        said = self._say(ids, positions, None if full else mask)
        self._lengths = [len(prompt) for prompt in prompts]
        if not full:
            self._close_holes(before, sizes, max(before))
        return said

    def prefill_packed(
        self, prompts: Sequence[torch.Tensor], adapter: int | None, mask_needed: bool
    ) -> list[int]:
        """As ``prefill``, with all prompts one after another in one row: nothing is padded.

        Args:
            prompts: As for ``prefill``.
            adapter: Of them all.
            mask_needed: False for an attention kernel that finds the prompts' bounds in the
                positions by itself.
        """
        sizes = [len(prompt) for prompt in prompts]
        device = prompts[0].device
        own = torch.cat([torch.full((n,), i, device=device) for i, n in enumerate(sizes)])
        positions = torch.cat([torch.arange(n, device=device) for n in sizes])
        ends = torch.tensor(sizes, device=device).cumsum(0) - 1
        mask = (own[:, None] == own).tril()[None, None] if mask_needed else None
        more = {} if mask is None else {"attention_mask": mask}
        self._cache = self._new_cache()
        ids = torch.cat(list(prompts))[None]
        logits = self._run(
            ids, self._cache, ends, position_ids=positions[None], adapters=[adapter], **more
        )
        self._adapters = [adapter] * len(prompts)
        for layer in self._cache.layers:
            layer.keys, layer.values = _unpacked(layer.keys, sizes), _unpacked(layer.values, sizes)
        self._lengths = sizes
        return self._choose(logits.transpose(0, 1))

    def decode(self) -> list[int]:
        """One token more of each row."""
        device = self._latest.device
        positions = torch.tensor(self._lengths, device=device)[:, None]
        self._lengths = [n + 1 for n in self._lengths]
        full = len(set(self._lengths)) == 1
        mask = None if full else _at_right(self._lengths, device)
        return self._say(self._latest, positions, mask)

    def _say(
        self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None
    ) -> list[int]:
        more = {} if mask is None else {"attention_mask": mask.long()}
        logits = self._run(
            ids, self._cache, position_ids=positions, adapters=self._adapters, **more
        )
        return self._choose(logits)

    def _choose(self, logits: torch.Tensor) -> list[int]:
        self.logits = logits
        self._latest = logits.argmax(-1)
        said: list[int] = self._latest.flatten().tolist()  # on the host
        return said

    def join(self, other: Rows) -> None:
        """Takes in the rows of another, after its own."""
        if not self._lengths:
            self._cache, self._latest = other._cache, other._latest
        else:
            self._latest = torch.cat([self._latest, other._latest])
            for mine, more in zip(self._cache.layers, other._cache.layers, strict=True):
                mine.keys = _stacked(mine.keys, more.keys)
                mine.values = _stacked(mine.values, more.values)
        self._lengths += other._lengths
        self._adapters += other._adapters
        self.logits = other.logits

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows, and the columns that only they had."""
        self._lengths = [self._lengths[i] for i in rows]
        self._adapters = [self._adapters[i] for i in rows]
        if not rows:
            self._cache = self._new_cache()
            return
        index = torch.tensor(rows, device=self._latest.device)
        self._latest = self._latest[index]
        longest = max(self._lengths)
        for layer in self._cache.layers:
            layer.keys = layer.keys[index, :, -longest:]
            layer.values = layer.values[index, :, -longest:]

    def held(self, row: int) -> Held:
        """A row's keys and values as they are now. Nothing is copied: a cache that grows puts its
        tokens into new tensors."""
        begin = -self._lengths[row]
        return [
            (layer.keys[row, :, begin:], layer.values[row, :, begin:])
            for layer in self._cache.layers
        ]

    def _filled(self, known: Sequence[Held], longest: int) -> Any:
        """A cache that holds what is known of each row, at the right."""
        cache = self._new_cache()
        if longest == 0:
            return cache
        some = next(held for held in known if held)
        nothing = [(keys[:, :0], values[:, :0]) for keys, values in some]
        for i in range(len(some)):
            layers = [(held or nothing)[i] for held in known]
            keys, values = (
                torch.stack([_widened(states, longest) for states in one])
                for one in zip(*layers, strict=True)
            )
            cache.update(keys, values, i)
        return cache

    def _close_holes(self, before: Sequence[int], sizes: Sequence[int], longest: int) -> None:
        """Moves what was known of each row next to what came in the pass."""
        if longest == 0:
            return
        width = max(self._lengths)
        for layer in self._cache.layers:
            for name in ("keys", "values"):
                states = getattr(layer, name)
                rows = [
                    torch.cat([row[:, longest - n : longest], row[:, row.shape[1] - m :]], dim=1)
                    for row, n, m in zip(states, before, sizes, strict=True)
                ]
                setattr(layer, name, torch.stack([_widened(row, width) for row in rows]))


def _at_right(lengths: Sequence[int], device: torch.device) -> torch.Tensor:
    """Which columns each row has, ``[rows, longest]``."""
    columns = torch.arange(max(lengths), device=device)
    return columns >= max(lengths) - torch.tensor(lengths, device=device)[:, None]


def _widened(states: torch.Tensor, tokens: int) -> torch.Tensor:
    """``[..., tokens, head_dim]``, zeros at the left."""
    return pad(states, (0, 0, tokens - states.shape[-2], 0))


def _unpacked(states: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """``[1, heads, all tokens, head_dim]`` as rows of their own."""
    parts = torch.split(states[0], list(sizes), dim=1)
    return torch.stack([_widened(part, max(sizes)) for part in parts])


def _stacked(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    longest = max(above.shape[-2], below.shape[-2])
    return torch.cat([_widened(above, longest), _widened(below, longest)])

"""Requests that differ from one another: what a workload says of them, how they are drawn."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from autotune.plugin import Trait


@dataclass(frozen=True)
class Drawn:
    """One request before it has its tokens."""

    text: int
    """Number of the piece of text that it takes; the same number is the same request again."""
    prompt_tokens: int
    new_tokens: int
    adapter: int | None = None
    """Number of the adapter that it asks for; None: the model itself."""


class Traffic(BaseModel):
    """A fixed number of requests, served from the first to the last as one unit of work.

    All that differs is drawn from the study's seed and is the same for every recipe. Caches that
    a recipe keeps between requests are empty whenever the first one comes: what may be found in
    them is what the traffic states.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    requests: int = Field(default=32, ge=2, le=4096)
    """How many there are."""
    prompt_tokens_spread_ratio: float = Field(default=0.0, ge=0, lt=1)
    """Prompts are evenly from ``(1 - ratio)`` to ``(1 + ratio)`` times as long as
    ``prompt_tokens``, in random order."""
    new_tokens_spread_ratio: float = Field(default=0.0, ge=0, lt=1)
    """The same of ``new_tokens``, independently. No recipe knows it before an answer ends."""
    repeat_ratio: float = Field(default=0.0, ge=0, lt=1)
    """This share of the requests repeats an earlier one, which is any of them."""
    shared_prefix_tokens: int = Field(default=0, ge=0)
    """So many first tokens are the same in all prompts, as those of a system prompt."""
    as_text: bool = Field(default=False, exclude_if=lambda as_text: not as_text)
    """Requests come as text: making tokens of it is part of serving them."""
    adapters: tuple[str, ...] = Field(
        default=(), max_length=64, exclude_if=lambda given: not given
    )
    """Folders of LoRA adapters as peft writes them: each request is for one of them, about as many
    for each, in random order. Accuracy is that of the model with them: the windows of the
    evaluation text take turns."""

    @property
    def repeats(self) -> int:
        """How many requests repeat an earlier one."""
        return min(round(self.repeat_ratio * self.requests), self.requests - 1)

    @property
    def traits(self) -> frozenset[Trait]:
        """What plugins may rely on."""
        mixed = self.prompt_tokens_spread_ratio or self.new_tokens_spread_ratio
        found = {
            Trait.MIXED_LENGTHS: bool(mixed),
            Trait.SHARED_PREFIX: self.shared_prefix_tokens > 0,
            Trait.REPEATS: self.repeats > 0,
            Trait.TEXT: self.as_text,
            Trait.ADAPTERS: len(self.adapters) > 1,
        }
        return frozenset(trait for trait, holds in found.items() if holds)

    def prompt_range(self, prompt_tokens: int) -> tuple[int, int]:
        """Tokens of the shortest and the longest prompt."""
        return _range(prompt_tokens, self.prompt_tokens_spread_ratio)

    def new_range(self, new_tokens: int) -> tuple[int, int]:
        """Tokens of the shortest and the longest answer."""
        return _range(new_tokens, self.new_tokens_spread_ratio)

    def draw(self, prompt_tokens: int, new_tokens: int, seed: int) -> list[Drawn]:
        """The requests in the order in which they come.

        Args:
            prompt_tokens: The workload's.
            new_tokens: The workload's.
            seed: The study's.
        """
        chance = random.Random(seed)
        fresh = self.requests - self.repeats
        prompts = _evenly(*self.prompt_range(prompt_tokens), fresh, chance)
        answers = _evenly(*self.new_range(new_tokens), fresh, chance)
        again = set(chance.sample(range(1, self.requests), self.repeats))
        drawn: list[Drawn] = []
        texts = zip(range(fresh), prompts, answers, self._adapters_of(fresh, seed), strict=True)
        for i in range(self.requests):
            drawn.append(chance.choice(drawn) if i in again else Drawn(*next(texts)))
        return drawn

    def _adapters_of(self, count: int, seed: int) -> list[int | None]:
        """As many requests for each, to one, in random order: of a seed of their own, so that all
        else is drawn as without them."""
        numbers = [i % len(self.adapters) if self.adapters else None for i in range(count)]
        random.Random(f"adapters of {seed}").shuffle(numbers)
        return numbers

    def in_words(self, prompt_tokens: int, new_tokens: int) -> str:
        """What a person should know beside every number that was measured with it."""
        told = [
            f"{self.requests} requests",
            f"prompts of {_words(self.prompt_range(prompt_tokens))} tokens",
            f"answers of {_words(self.new_range(new_tokens))}",
        ]
        if self.repeats:
            told.append(f"{self.repeats / self.requests:.0%} repeat an earlier one")
        if self.shared_prefix_tokens:
            told.append(f"the first {self.shared_prefix_tokens} tokens are the same in all")
        if self.as_text:
            told.append("they come as text")
        if self.adapters:
            told.append(f"each is for one of {len(self.adapters)} LoRA adapters")
        return ", ".join(told)


def _range(mean: int, ratio: float) -> tuple[int, int]:
    return max(1, round(mean * (1 - ratio))), max(1, round(mean * (1 + ratio)))


def _evenly(low: int, high: int, count: int, chance: random.Random) -> list[int]:
    """Lengths evenly spread, both ends among them, in random order: their mean does not depend on
    the seed."""
    steps = max(1, count - 1)
    lengths = [round(low + (high - low) * i / steps) for i in range(count)]
    chance.shuffle(lengths)
    return lengths


def _words(ends: tuple[int, int]) -> str:
    low, high = ends
    return str(low) if low == high else f"{low} to {high}"

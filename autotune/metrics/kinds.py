"""What a metric is: a named quantity with unit, direction, formula and resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Direction(StrEnum):
    """Which way is better."""

    MAXIMIZE = "maximize"
    MINIMIZE = "minimize"


UP, DOWN = Direction.MAXIMIZE, Direction.MINIMIZE

GENERATES = ("causal-lm",)
CLASSIFIES = ("causal-lm", "sequence-classification")
ENCODES = ("sequence-classification", "feature-extraction")
"""The tasks that have a metric, where not all do."""


class Family(StrEnum):
    """Which meter takes it."""

    SPEED = "speed"
    TAIL = "tail"
    COLD = "cold"
    MEMORY = "memory"
    ENERGY = "energy"
    ACCURACY = "accuracy"
    ROOF = "roof"


@dataclass(frozen=True)
class Metric:
    """One named quantity."""

    name: str
    unit: str
    direction: Direction
    family: Family
    formula: str
    label: str
    """What a table calls it."""
    meaning: str = ""
    """One line for people who do not know the term; empty where the label says it all."""
    tasks: tuple[str, ...] = ()
    """Tasks for which it exists; empty for all."""
    resolution_ratio: float = 0.0
    """Values closer than this fraction are ties, whatever their intervals say."""
    resolution: float = 0.0
    """Values closer than this many units are ties."""
    is_goal: bool = True
    """Whether every trial has it, so that it can be an objective or a constraint."""
    is_signed: bool = False
    """Whether it may be negative."""
    elsewhere: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Tool → what it calls this quantity; see ``autotune.metrics.elsewhere``."""

    def steps(self, value: float) -> float:
        """The value on a scale whose unit is what the metric can resolve, so that a difference
        under 1 is a tie. One step is about ``hypot(resolution, resolution_ratio * value)``: the
        scale is linear near zero and logarithmic beyond. Without a resolution the value itself
        is returned; see ``ties``."""
        if self.resolution and self.resolution_ratio:
            ratio = self.resolution_ratio
            return math.asinh(value * ratio / self.resolution) / ratio
        if self.resolution:
            return value / self.resolution
        if self.resolution_ratio and value > 0:
            return math.log(value) / self.resolution_ratio
        return value if not self.resolution_ratio else -math.inf

    @property
    def ties(self) -> bool:
        """Whether it has a resolution, so that close values are ties."""
        return bool(self.resolution or self.resolution_ratio)

    def tied(self, one: float | None, other: float | None) -> bool:
        """Whether two values differ by no more than the resolution."""
        if one is None or other is None:
            return False
        return one == other or (self.ties and abs(self.steps(one) - self.steps(other)) <= 1)

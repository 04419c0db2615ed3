"""What a recorded table holds, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from autotune.outcome import Outcome
from autotune.params import Scalar

SECONDS_WITHOUT_COSTS = 1.0
"""What a trial of a table takes that says nothing of it."""

Values = tuple[Scalar, ...]
"""A configuration: one value for each param of the table, in its order."""


@dataclass(frozen=True)
class Objective:
    """A column that is to be maximised or minimised."""

    name: str
    maximise: bool

    @property
    def column(self) -> str:
        """Its name in a file: ``throughput+``, ``latency-``."""
        return self.name + ("+" if self.maximise else "-")


@dataclass(frozen=True)
class Row:
    """What one configuration measured."""

    params: Values
    outcome: Outcome = Outcome.OK
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Value by name, of every objective (of a failed row: none) and what else was measured."""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Ends of the 95 % interval by the same names."""
    phase_seconds: Mapping[str, float] = field(default_factory=dict)
    """What each phase takes in a process of its own, of accuracy that nobody knows yet."""
    recipe_key: str = ""
    setup_key: str = ""
    """Rows that share it can be measured in one prepared process; empty: shared by none."""
    output_key: str = ""
    """Rows that share it have the same accuracy; empty as above."""
    repeats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """The single readings behind a metric, where they were kept."""

    @property
    def valid(self) -> bool:
        """Whether it was measured within every constraint."""
        return self.outcome is Outcome.OK

    def seconds(self, *, warm: bool = False, known_accuracy: bool = False) -> float:
        """How long a trial of this row takes.

        Args:
            warm: A process of its ``setup_key`` is there: nothing is prepared.
            known_accuracy: That of its ``output_key`` is known: nothing is scored.
        """
        if not self.phase_seconds:
            return SECONDS_WITHOUT_COSTS
        spared = {"prepare"} if warm else set()
        spared |= {"score"} if known_accuracy else set()
        return sum(s for phase, s in self.phase_seconds.items() if phase not in spared)


@dataclass(frozen=True)
class Table:
    """Configurations of one system and what they measured."""

    name: str
    params: tuple[str, ...]
    objectives: tuple[Objective, ...]
    rows: tuple[Row, ...]
    duplicates: int = 0
    """Rows of the file that repeated an earlier configuration, and were left out."""

    def index(self) -> dict[Values, int]:
        """The row number of every configuration."""
        return {row.params: i for i, row in enumerate(self.rows)}

"""The search dimensions that a plugin declares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

Scalar = str | int | float | bool
"""The type of every param's value: a JSON scalar."""

Params = Mapping[str, Scalar]
"""One plugin's chosen values: every active param, by name."""

Condition = Mapping[str, Scalar | tuple[Scalar, ...]]
"""Values that earlier params of the same plugin must have; a tuple allows any of its values."""


class Stage(StrEnum):
    """The earliest point of a trial that a param changes; the factorization rests on it."""

    MODEL = "model"
    """Changes the weights or the numbers. Only these can change accuracy."""
    SETUP = "setup"
    """Changes how the same numbers are computed; needs a new load, compile or process."""
    RUN = "run"
    """Changes only how the ready model is driven."""


@dataclass(frozen=True)
class _Param:
    """What every param declares besides its values."""

    stage: Stage = field(kw_only=True)
    """The earliest point of a trial that this param changes."""
    when: Condition = field(default_factory=dict, kw_only=True)
    """Active only while this holds; an inactive param is left out of the recipe."""
    affects_accuracy: bool = field(default=False, kw_only=True)
    """True puts a setup or run param into the ``output_key`` (a lossy KV cache, say)."""
    help: str = field(default="", kw_only=True)
    """One sentence for ``autotune plugins show``."""

    @property
    def changes_output(self) -> bool:
        return self.stage is Stage.MODEL or self.affects_accuracy

    def active(self, params: Params) -> bool:
        """Whether the condition ``when`` holds for the values chosen so far."""
        for name, wanted in self.when.items():
            allowed = wanted if isinstance(wanted, tuple) else (wanted,)
            if name not in params or params[name] not in allowed:
                return False
        return True


@dataclass(frozen=True, init=False)
class Choice(_Param):
    """One of a few values: ``Choice("a", "b", default="a", stage=Stage.SETUP)``."""

    choices: tuple[Scalar, ...]
    """What may be chosen, in the order in which it is shown."""
    default: Scalar
    """The value that does nothing."""

    def __init__(
        self,
        *choices: Scalar,
        default: Scalar,
        stage: Stage,
        when: Condition | None = None,
        affects_accuracy: bool = False,
        help: str = "",
    ) -> None:
        super().__init__(
            stage=stage, when=when or {}, affects_accuracy=affects_accuracy, help=help
        )
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "default", default)

    def values(self) -> tuple[Scalar, ...]:
        """Every value that the search may take."""
        return self.choices

    def contains(self, value: Scalar) -> bool:
        """Whether a recipe may hold this value (``True`` and ``1`` are different values)."""
        return any(type(value) is type(c) and value == c for c in self.choices)

    def describe(self) -> str:
        """The allowed values in words."""
        return ", ".join(str(c) for c in self.choices)


@dataclass(frozen=True)
class Int(_Param):
    """A whole number; on a log scale the search takes ``low``, ``2·low``, ``4·low``…"""

    low: int
    high: int
    default: int = field(kw_only=True)
    step: int = field(default=1, kw_only=True)
    log: bool = field(default=False, kw_only=True)

    def values(self) -> tuple[Scalar, ...]:
        """Every value that the search may take."""
        if not self.log:
            return tuple(range(self.low, self.high + 1, self.step))
        doublings = int(math.log2(self.high / self.low)) + 1 if self.high >= self.low > 0 else 0
        return tuple(self.low * 2**i for i in range(doublings))

    def contains(self, value: Scalar) -> bool:
        """Whether a recipe may hold this value: any whole number of the range."""
        return type(value) is int and self.low <= value <= self.high

    def describe(self) -> str:
        """The allowed values in words."""
        how = "by doubling" if self.log else f"in steps of {self.step}"
        return f"{self.low} to {self.high}, searched {how}"


@dataclass(frozen=True)
class Float(_Param):
    """A real number on a grid from ``low`` to ``high``."""

    low: float
    high: float
    default: float = field(kw_only=True)
    step: float = field(kw_only=True)

    def values(self) -> tuple[Scalar, ...]:
        """Every value that the search may take."""
        count = int((self.high - self.low) / self.step + 1e-9) + 1 if self.step > 0 else 0
        return tuple(round(self.low + i * self.step, 10) for i in range(count))

    def contains(self, value: Scalar) -> bool:
        """Whether a recipe may hold this value: any real number of the range."""
        return type(value) in (int, float) and self.low <= float(value) <= self.high

    def describe(self) -> str:
        """The allowed values in words."""
        return f"{self.low} to {self.high}, searched in steps of {self.step}"


Param = Choice | Int | Float


def any_of(wanted: Scalar | tuple[Scalar, ...]) -> str:
    """The values that a condition allows, in words."""
    return " or ".join(map(str, wanted)) if isinstance(wanted, tuple) else str(wanted)

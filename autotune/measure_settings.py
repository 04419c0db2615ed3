"""How carefully trials are measured: a section of the study file, and part of each trial."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from autotune.message import Message


class MeasureSettings(Message):
    """How carefully each trial is measured."""

    model_config = ConfigDict(allow_inf_nan=False, use_attribute_docstrings=True)

    block_seconds: float = Field(default=0.5, gt=0)
    """A block lasts at least this long; it is the statistical unit."""
    min_pairs: int = Field(default=6, ge=6)
    """Pairs of candidate and baseline blocks; six are the fewest with a 95 % interval."""
    max_pairs: int = Field(default=16, ge=6)
    """At most so many, where the interval is not yet as narrow as asked for."""
    reference: Literal["auto", "session", "probe"] = "auto"
    """What runs beside a candidate: a live session that holds the baseline, or a probe of the
    device that only watches for drift (its values are of grade B at best). ``auto`` takes the
    session wherever both fit into memory."""
    target_half_width_ratio: float = Field(default=0.02, gt=0)
    """Stop when the interval of the first speed objective's ratio is this narrow."""
    quiet_contention_ratio: float = Field(default=0.05, ge=0, le=1)
    """Up to this share of foreign CPU time, steal, throttling or memory pressure: grade A."""
    worst_contention_ratio: float = Field(default=0.5, ge=0, le=1)
    """Beyond this share: grade C."""
    quiet_drift_ratio: float = Field(default=0.05, ge=0)
    """Up to this change of the baseline's own blocks: grade A."""
    worst_half_width_ratio: float = Field(default=0.3, gt=0)
    """A ratio whose interval is wider than this to both sides: grade C."""
    racing: bool = Field(default=True, exclude_if=lambda racing: bool(racing))
    """End a trial of a search once an earlier one is surely at least as good in every objective,
    and better in one."""
    warmup_blocks: int = Field(default=6, ge=3)
    """At most so many warm-up blocks; fewer once three agree within 5 %."""
    energy_window_seconds: float = Field(default=5.0, gt=0)
    """How long one reading of energy lasts."""
    energy_windows: int = Field(default=5, ge=1)
    """How many readings of energy a trial has."""
    cpu_watts_per_core: float | None = Field(default=None, gt=0)
    """What a busy core takes. Given, a CPU that nothing can measure has its energy estimated from
    CPU time, and the estimate may be an objective; null: never."""
    prepare_timeout_seconds: float = Field(default=600.0, gt=0)
    """Limit of loading and all transforms."""
    step_timeout_seconds: float = Field(default=300.0, gt=0)
    """Limit of each step after preparing: score, warm-up, block."""
    tasks_timeout_seconds: float = Field(default=3600.0, gt=0)
    """Limit of all task files of one recipe."""
    verify_reload: bool = False
    """Also write the transformed weights to a file and go on with what is read from it: a trial
    whose outputs then differ fails."""
    memory_limit_bytes: int | None = Field(default=None, gt=0)
    """Data-segment limit (RLIMIT_DATA) of the bench process."""

    @model_validator(mode="after")
    def _check_pairs(self) -> MeasureSettings:
        if self.max_pairs < self.min_pairs:
            raise ValueError(f"max_pairs {self.max_pairs} is less than min_pairs {self.min_pairs}")
        return self

"""How a trial ended, and what each ending tells the search."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """How a trial ended."""

    OK = "ok"
    """Measured, and within every constraint."""
    INFEASIBLE = "infeasible"
    """Measured, and outside at least one constraint."""
    UNSUPPORTED = "unsupported"
    """A plugin said that this recipe cannot work here."""
    OUT_OF_MEMORY = "out_of_memory"
    """The device, the cgroup or an rlimit ran out of memory."""
    TIMEOUT = "timeout"
    """A step took longer than its limit."""
    CRASHED = "crashed"
    """The bench process died or a plugin raised."""
    INVALID_OUTPUT = "invalid_output"
    """The model gave logits that are not finite."""
    LOST = "lost"
    """The process that ran it vanished, more often than it may be tried again."""


class Lesson(StrEnum):
    """What the sampler is told about a finished trial."""

    VALUES = "values"
    """The measured values, with the constraints as measured."""
    REJECT = "reject"
    """The worst values seen so far and a violated constraint: do not come back here."""


def lesson(outcome: Outcome) -> Lesson:
    """Says what an outcome teaches the sampler.

    A failed trial is never told as Optuna's FAIL: its samplers ignore those and suggest the
    same recipe for ever.
    """
    measured = outcome in (Outcome.OK, Outcome.INFEASIBLE)
    return Lesson.VALUES if measured else Lesson.REJECT

"""What has been learnt about a trial while it runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Literal

from autotune import constraints
from autotune.bench.protocol import Reply
from autotune.execute.base import OnProgress
from autotune.messages import (
    BlockPair,
    Contention,
    Metrics,
    Progress,
    TaskScore,
    TrialResult,
    TrialSpec,
)
from autotune.metrics import METRICS, Family
from autotune.outcome import Outcome

Phase = Literal["lock", "prepare", "baseline", "score", "warmup", "measure", "energy", "tasks"]


class Stop(Exception):
    """The trial is over before its end: a constraint is surely violated."""


class TrialUnderWay:
    """What has been learnt about the trial so far."""

    def __init__(self, spec: TrialSpec, on_progress: OnProgress) -> None:
        self.spec = spec
        self.metrics: Metrics = {}
        self.pairs: list[BlockPair] = []
        self.tasks: tuple[TaskScore, ...] = ()
        self.contention: Contention | None = None
        self.notes: list[str] = []
        self.fallbacks: dict[str, None] = {}
        """In the order of finding; a trial that is started again finds the same once more."""
        self.environment: dict[str, str] = {}
        self.warm = False
        self.alone = False
        """Whether a probe takes the baseline's place."""
        self.log = ""
        self.applied: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext
        """Within it the recipe's settings of the device are in force."""
        self.matmul_format = ""
        self._seconds: dict[str, float] = {}
        self._outcome: Outcome | None = None
        self._explanation = ""
        self._on_progress = on_progress
        self._constraints = constraints.parse_all(spec.constraints)

    def report(self, phase: Phase, detail: str = "") -> None:
        self._on_progress(Progress(number=self.spec.number, phase=phase, detail=detail))

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[None]:
        """Times a phase, also if it fails."""
        self.report(name)
        began = time.monotonic()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - began

    def stop_if_violated(self, judged_by: str = "") -> None:
        """Ends the trial if a constraint is violated beyond its interval.

        Args:
            judged_by: What it was judged by, if that is less than usual.
        """
        if self.is_violated(self.metrics):
            found = constraints.explain(self._constraints, self.metrics)
            self.fail(Outcome.INFEASIBLE, f"{found}; {judged_by}" if judged_by else found)
            raise Stop

    def limited(self, family: Family) -> set[str]:
        """The metrics of a family that a constraint limits."""
        names = (limit.metric for limit in self._constraints)
        return {name for name in names if METRICS[name].family is family}

    def is_violated(self, metrics: Metrics) -> bool:
        """Whether a constraint is violated beyond its interval; the baseline is always measured
        whole."""
        broken = any(c.surely_violated(metrics) for c in self._constraints)
        return broken and bool(self.spec.recipe)

    def learn(self, reply: Reply) -> None:
        """Takes over what one step of the candidate gave."""
        self.metrics |= reply.metrics
        self.notes += reply.notes
        self.matmul_format = reply.matmul_format or self.matmul_format
        self.tasks += reply.tasks
        self.fallbacks |= dict.fromkeys(found.words for found in reply.fallbacks)

    def fail(self, outcome: Outcome, explanation: str) -> None:
        self._outcome, self._explanation = outcome, explanation

    def result(self) -> TrialResult:
        if self._outcome is None:
            self._explanation = constraints.explain(self._constraints, self.metrics)
            self._outcome = Outcome.INFEASIBLE if self._explanation else Outcome.OK
        return TrialResult(
            number=self.spec.number,
            outcome=self._outcome,
            explanation=self._explanation,
            metrics=self.metrics,
            blocks=tuple(self.pairs),
            contention=self.contention,
            phase_seconds=self._seconds,
            notes=tuple(dict.fromkeys(self.notes)),
            fallbacks=tuple(self.fallbacks),
            warm=self.warm,
            accuracy_reused=self.spec.known_accuracy is not None,
            log=self.log,
            environment=self.environment,
            tasks=self.tasks,
        )

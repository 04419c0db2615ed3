"""The ruler held against itself: the same alternating harness on two sessions whose true ratio
is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from autotune.bench.protocol import Operation
from autotune.execute.contention import ContentionRecorder
from autotune.execute.grade import drift_ratio, grade
from autotune.execute.paired import alternate
from autotune.execute.session import BenchSession
from autotune.messages import BlockPair, Contention, Grade, Measurement, TrialSpec
from autotune.statistics import Interval, paired_ratio

LATENCY = "e2e_latency_seconds"
DECODE = "decode_seconds"
"""Block value that only the ruler looks at: ``tn - t1``, the time of the decode steps."""


@dataclass(frozen=True)
class Comparison:
    """What the harness said of two sessions."""

    ratio: Interval
    """Of the candidate's decode time to the reference's (encoders: of the latency)."""
    grade: Grade
    contention: Contention
    pairs: tuple[BlockPair, ...]


class Ruler:
    """Two bench sessions of the baseline, the candidate's with its own number of new tokens.

    Close it, and the processes end.
    """

    def __init__(self, spec: TrialSpec, more_decode_steps: float = 0.0) -> None:
        """
        Args:
            spec: The baseline's trial.
            more_decode_steps: How much more the candidate decodes, e.g. 0.05; rounded to whole
                steps, see ``true_ratio``.

        Raises:
            BenchError: A session cannot be prepared.
        """
        steps = spec.workload.new_tokens - 1
        more = round(steps * (1 + more_decode_steps))
        longer = spec.workload.model_copy(update={"new_tokens": more + 1})
        self.true_ratio = more / steps if steps else 1.0
        self._specs = {
            "candidate": spec.model_copy(update={"workload": longer}),
            "reference": spec,
        }
        self._sessions: dict[str, BenchSession] = {}
        try:
            for role in self._specs:
                self._start(role)
        except BaseException:
            self.close()
            raise

    def _start(self, role: str) -> None:
        spec = self._specs[role]
        log = Path(spec.directory) / "logs" / f"ruler-{role}.log"
        self._sessions[role] = BenchSession(log, spec.device.environment)
        self._ask(role, Operation.PREPARE)
        self._ask(role, Operation.WARMUP)

    def _ask(self, role: str, operation: Operation) -> dict[str, float]:
        spec = self._specs[role]
        limit = spec.settings.step_timeout_seconds
        return self._sessions[role].ask(operation, limit, spec).values

    def block(self, role: str) -> dict[str, float]:
        """One block of ``candidate`` or ``reference``."""
        values = self._ask(role, Operation.BLOCK)
        if "ttft_seconds" in values:
            return values | {DECODE: values[LATENCY] - values["ttft_seconds"]}
        return values | {DECODE: values[LATENCY]}

    def compare(self, seed: int) -> Comparison:
        """One comparison, as a trial would be measured.

        Args:
            seed: Orders the pairs.
        """
        spec = self._specs["reference"]
        recorder = ContentionRecorder(spec.device)
        pids = [session.pid for session in self._sessions.values()]
        before = recorder.read(pids)
        pairs = alternate(
            lambda: self.block("candidate"),
            lambda: self.block("reference"),
            spec.settings,
            DECODE,
            seed,
            lambda _: None,
        )
        seen = recorder.between(before, recorder.read(pids), pids)
        seen = seen.model_copy(update={"drift_ratio": drift_ratio(pairs, DECODE)})
        ratio = paired_ratio(
            [p.candidate[DECODE] for p in pairs], [p.reference[DECODE] for p in pairs]
        )
        enough = ratio.half_width_ratio <= spec.settings.target_half_width_ratio
        found = Measurement.of(
            ratio, "ratio", "median_ratio", "alternating blocks", converged=enough
        )
        return Comparison(ratio, grade(found, seen, spec.settings), seen, tuple(pairs))

    def close(self) -> None:
        """Ends the processes. Idempotent."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()

"""A real worker whose trials take a moment and whose numbers follow from the recipe alone; what
it began and ended stands in a journal."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

from autotune.bench.protocol import Operation
from autotune.errors import BenchError
from autotune.execute.base import OnProgress
from autotune.execute.session import BenchSession
from autotune.execute.template import fork
from autotune.hashing import sha256_json
from autotune.messages import BlockPair, Progress, TrialResult, TrialSpec
from autotune.outcome import Outcome
from autotune.testing import fake_device, fake_result

BENCH = bool(os.environ.get("QUICK_BENCH"))
"""Whether every trial has a real bench process, which may be killed."""
JOURNAL = Path(os.environ["QUICK_JOURNAL"])
SECONDS = float(os.environ.get("QUICK_SECONDS", "0.05"))


class QuickSlot:
    """In the place of a device's slot."""

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._terminated = threading.Event()

    def run(self, spec: TrialSpec) -> TrialResult:
        self._write("begin", spec)
        self._on_progress(Progress(number=spec.number, phase="measure", detail="quickly"))
        if BENCH:
            try:
                _use_bench_process(spec)
            except BenchError as error:
                self._write("end", spec)
                return TrialResult(
                    number=spec.number, outcome=error.outcome, explanation=error.explanation
                )
        if self._terminated.wait(SECONDS):
            return TrialResult(number=spec.number, outcome=Outcome.CRASHED, explanation="killed")
        draw = int(sha256_json(spec.recipe)[:8], 16) / 0xFFFFFFFF
        found = fake_result(
            spec,
            output_tokens_per_second=100 * (1 + draw),
            host_model_peak_bytes=1e8 * (2 - draw),
            device_peak_process_bytes=1e9 * (2 - draw),
            weights_bytes=1e7 * (2 - draw),
            kld_mean_nats=draw if spec.recipe else 0.0,
        )
        pair = BlockPair(
            candidate={"output_tokens_per_second": 1.0 + draw},
            reference={"output_tokens_per_second": 1.0},
            candidate_first=True,
        )
        self._write("end", spec)
        return found.model_copy(update={"blocks": (pair, pair)})

    def _write(self, what: str, spec: TrialSpec) -> None:
        with JOURNAL.open("a", encoding="utf-8") as journal:
            journal.write(f"{what} {spec.number} {os.environ['AUTOTUNE_WORKER_NAME']}\n")

    def terminate(self) -> None:
        self._terminated.set()

    def close(self) -> None:
        pass


def _use_bench_process(spec: TrialSpec) -> None:
    """Blocks of the probe for the trial's time, in a process of its own."""
    with BenchSession(Path(spec.directory) / "bench.log", {}, start=fork) as session:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            session.ask(Operation.PROBE, 60, spec)


if __name__ == "__main__":
    from autotune_workers import app
    from autotune_workers.__main__ import main

    if os.environ.get("QUICK_DEVICE") == "cuda":  # no such thing need be here
        app.detect = lambda _: fake_device("cuda")
    main(QuickSlot)

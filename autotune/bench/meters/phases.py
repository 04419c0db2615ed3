"""One more request, after all timed blocks, that tells what prefill and decode need by
themselves, and what several processes need together."""

from __future__ import annotations

import os
from collections.abc import Callable

from autotune.bench.meters.memory import MemoryMeter
from autotune.bench.meters.process_tree import TreePoller
from autotune.engine import Engine
from autotune.messages import Measurement, Metrics
from autotune.metrics import host_peak


def request_phases(
    memory: MemoryMeter, engine: Engine, request: Callable[[], object], generates: bool
) -> Metrics:
    """Runs a request with the peaks reset before it and once its first token is there.

    Args:
        memory: The meter; what it has read as the headline is not touched.
        engine: What the request runs on.
        request: Runs it.
        generates: Whether it has a first token at all; an encoder's has not.
    """
    first_tokens = 0

    def on_first_token() -> None:
        nonlocal first_tokens
        first_tokens += 1
        memory.end_of("prefill")

    memory.start()
    told = generates and not engine.elsewhere
    engine.on_first_token = on_first_token if told else None
    try:
        with TreePoller(os.getpid()) as tree:
            request()
    finally:
        engine.on_first_token = None
    if first_tokens:
        memory.end_of("decode")
        return memory.phases() | tree.metrics()
    return (_not_told(engine) if generates else {}) | tree.metrics()


def _not_told(engine: Engine) -> Metrics:
    silent = f"{type(engine).__name__} does not say when its first token is there"
    reason = engine.elsewhere or silent
    unknown = Measurement.unavailable("B", reason)
    return {host_peak(phase): unknown for phase in ("prefill", "decode")}

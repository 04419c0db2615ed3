"""Speed of one block: requests, or a workload's whole traffic, in a row for at least the block's
length."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from autotune.engine import Timing


@dataclass(frozen=True)
class Block:
    """Requests run one after another, or traffic again and again."""

    timings: tuple[Timing, ...]
    traffic: bool = False
    """Whether requests share passes with others."""

    @property
    def seconds(self) -> float:
        """From the first request's start to the last output."""
        return max(t.last for t in self.timings) - self.timings[0].start

    @property
    def output_tokens(self) -> int:
        return sum(t.sequences * t.output_tokens for t in self.timings)

    @property
    def sequences(self) -> int:
        return sum(t.sequences for t in self.timings)


def run_block(run: Callable[[], Sequence[Timing]], seconds: float) -> Block:
    """Runs until the block has lasted ``seconds``; at least once.

    Args:
        run: One request, or all of a workload's traffic.
        seconds: The least that a block lasts.
    """
    begin = time.perf_counter()
    timings = list(run())
    traffic = len(timings) > 1
    while time.perf_counter() - begin < seconds:
        timings += run()
    return Block(tuple(timings), traffic)


def speed_values(block: Block) -> dict[str, float]:
    """Each speed metric of a block (definitions in ``autotune.metrics``); per-request ones as
    the median over the block's requests that have them."""
    if block.output_tokens == 0:
        return _encoder_values(block)
    values = {
        "ttft_seconds": _median(block, lambda t: t.first - t.start),
        "e2e_latency_seconds": _median(block, lambda t: t.last - t.start),
        "output_tokens_per_second": block.output_tokens / block.seconds,
    }
    # An answer that came whole, from a cache of results, has no time per token.
    decoded = [t for t in block.timings if t.output_tokens >= 2 and t.last > t.first]
    if tpots := [(t.last - t.first) / (t.output_tokens - 1) for t in decoded]:
        values["tpot_seconds"] = statistics.median(tpots)
    return values if block.traffic else values | _batch_rates(block)


def _batch_rates(block: Block) -> dict[str, float]:
    """Of requests that have their passes to themselves."""
    values = {
        "prefill_tokens_per_second": _median(
            block, lambda t: t.sequences * t.prompt_tokens / (t.first - t.start)
        )
    }
    if block.timings[0].output_tokens >= 2:
        values["decode_tokens_per_second"] = _median(
            block, lambda t: t.sequences * (t.output_tokens - 1) / (t.last - t.first)
        )
    return values


def _encoder_values(block: Block) -> dict[str, float]:
    return {
        "e2e_latency_seconds": _median(block, lambda t: t.last - t.start),
        "samples_per_second": _median(block, lambda t: t.sequences / (t.last - t.start)),
    }


def _median(block: Block, value: Callable[[Timing], float]) -> float:
    return statistics.median(value(t) for t in block.timings)

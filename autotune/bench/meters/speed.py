"""Speed of one block: requests in a row for at least the block's length."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from autotune.engine import Timing


@dataclass(frozen=True)
class Block:
    """Requests run one after another."""

    timings: tuple[Timing, ...]

    @property
    def seconds(self) -> float:
        """From the first request's start to the last one's end."""
        return self.timings[-1].last - self.timings[0].start

    @property
    def output_tokens(self) -> int:
        return sum(t.sequences * t.output_tokens for t in self.timings)

    @property
    def sequences(self) -> int:
        return sum(t.sequences for t in self.timings)


def run_block(request: Callable[[], Timing], seconds: float) -> Block:
    """Runs requests until the block has lasted ``seconds``; at least one."""
    begin = time.perf_counter()
    timings = [request()]
    while time.perf_counter() - begin < seconds:
        timings.append(request())
    return Block(tuple(timings))


def speed_values(block: Block) -> dict[str, float]:
    """Each speed metric of a block (definitions in ``autotune.metrics``); per-request ones as
    the median over the block's requests."""
    if block.output_tokens == 0:
        return _encoder_values(block)
    first = block.timings[0]
    values = {
        "ttft_seconds": _median(block, lambda t: t.first - t.start),
        "e2e_latency_seconds": _median(block, lambda t: t.last - t.start),
        "output_tokens_per_second": block.output_tokens / block.seconds,
        "prefill_tokens_per_second": _median(
            block, lambda t: t.sequences * t.prompt_tokens / (t.first - t.start)
        ),
    }
    if first.output_tokens >= 2:
        values["tpot_seconds"] = _median(
            block, lambda t: (t.last - t.first) / (t.output_tokens - 1)
        )
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

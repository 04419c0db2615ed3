"""What torch.compile did: graph breaks, code that stayed eager, CUDA graphs left out, recompiles.

torch counts them for the whole process; a watch looks at what came since it began.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from autotune.bench.fallbacks import Asked
from autotune.bench.protocol import Fallback
from autotune.device import Device

_GROUPS = ("graph_break", "unimplemented", "frames", "stats", "inductor")


class CompileWatch:
    """Begun before the model is compiled; only where compilation is asked for, because the
    counters live in a part of torch that is costly to import."""

    def __init__(self, asked: Asked, device: Device) -> None:
        self._asked = asked
        self._cuda = device.kind == "cuda"
        self._begun = _counters()
        self._begun_us = time.time_ns() // 1000
        self._begun_seconds = _seconds()
        self._graphs = 0

    def seconds(self) -> float:
        """What compiling has taken so far, by the wall clock."""
        return _seconds() - self._begun_seconds

    def after_warm_up(self) -> Iterator[Fallback]:
        """What compiling gave; for all of the process's life, as its graphs are used again."""
        seen = {name: _counters()[name] - self._begun[name] for name in _GROUPS}
        self._graphs = seen["stats"]["unique_graphs"]
        yield from self._not_whole(seen)
        skipped = seen["inductor"]["cudagraph_skips"]
        if self._cuda and "cuda_graphs" in self._asked and skipped:
            yield Fallback(
                what="cuda_graphs",
                asked=self._asked["cuda_graphs"],
                ran="without",
                reason=f"torch left CUDA graphs out of {_count(skipped, 'graph')}",
            )

    def after_blocks(self) -> Iterator[Fallback]:
        """Compilations since the warm-up: they are in the times that were measured."""
        graphs = _counters()["stats"] - self._begun["stats"]
        more = graphs["unique_graphs"] - self._graphs
        reasons = self._reasons("recompile_reason")
        if more > 0:
            yield Fallback(
                what="compiled",
                asked="no compilation after the warm-up",
                ran=_count(more, "recompile"),
                reason=reasons[-1] if reasons else "torch gave no reason",
            )

    def _not_whole(self, seen: dict[str, Counter[str]]) -> Iterator[Fallback]:
        breaks = seen["graph_break"] + seen["unimplemented"]
        eager = seen["frames"]["total"] - seen["frames"]["ok"]
        if not self._graphs:
            ran = ["eager"]
        else:
            ran = [_count(breaks.total(), "graph break")] if breaks else []
            ran += [_count(eager, "frame") + " eager"] if eager > 0 else []
        if ran:
            yield Fallback(
                what="compiled",
                asked=self._asked["compiled"],
                ran=", ".join(ran),
                reason=self._why(breaks) + _suppressed(),
            )

    def _why(self, breaks: Counter[str]) -> str:
        """An error comes before the breaks that it caused."""
        reasons = [_in_short(reason) for reason, _ in breaks.most_common()]
        others = f" (and {_count(len(reasons) - 1, 'other reason')})" if len(reasons) > 1 else ""
        failed = self._reasons("fail_reason")
        if failed and (not reasons or not self._graphs):
            return _in_short(failed[0])
        return reasons[0] + others if reasons else "torch compiled no graph"

    def _reasons(self, field: str) -> list[str]:
        """What torch noted about the compilations since the watch began, the earliest first."""
        from torch._dynamo.utils import get_compilation_metrics

        records: list[Any] = list(get_compilation_metrics())
        mine = [m for m in records if (m.start_time_us or 0) >= self._begun_us]
        return [str(reason) for m in mine if (reason := getattr(m, field, None))]


def _counters() -> dict[str, Counter[str]]:
    """A copy of torch's counters."""
    from torch._dynamo.utils import counters

    return {name: Counter(counters[name]) for name in _GROUPS}


def _seconds() -> float:
    """Of all compiling in this process: torch times each frame, from bytecode to kernels."""
    from torch._dynamo.utils import calculate_time_spent

    return float(calculate_time_spent().get("total_wall_time", 0.0))


def _suppressed() -> str:
    from torch._dynamo import config

    return " (suppress_errors is on)" if config.suppress_errors else ""


def _in_short(text: str) -> str:
    """The first two lines: torch puts the cause into the second."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:2])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")

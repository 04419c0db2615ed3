"""What torch.compile did: graph breaks, code that stayed eager, CUDA graphs left out, recompiles.

torch counts them for the whole process; a watch looks at what came since it began.
"""

from __future__ import annotations

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
        self._graphs = 0

    def after_warm_up(self) -> Iterator[Fallback]:
        """What compiling gave; for all of the process's life, as its graphs are used again."""
        seen = {name: _counters()[name] - self._begun[name] for name in _GROUPS}
        self._graphs = seen["stats"]["unique_graphs"]
        yield from self._graph_breaks(seen["graph_break"])
        yield from self._eager(seen)
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
        if more > 0:
            yield Fallback(
                what="compiled",
                asked="no compilation after the warm-up",
                ran=_count(more, "recompile"),
                reason=_latest("recompile_reason") or "torch gave no reason",
            )

    def _graph_breaks(self, breaks: Counter[str]) -> Iterator[Fallback]:
        if breaks:
            reasons = [_first_line(reason) for reason, _ in breaks.most_common()]
            others = f" (and {len(reasons) - 1} other reasons)" if len(reasons) > 1 else ""
            yield Fallback(
                what="compiled",
                asked=self._asked["compiled"],
                ran=_count(breaks.total(), "graph break"),
                reason=reasons[0] + others,
            )

    def _eager(self, seen: dict[str, Counter[str]]) -> Iterator[Fallback]:
        failed = seen["frames"]["total"] - seen["frames"]["ok"]
        if failed or seen["unimplemented"] or not self._graphs:
            told = [*seen["unimplemented"], _latest("fail_reason")]
            reason = next(filter(None, told), "") or "torch compiled no graph"
            ran = f"{_count(failed, 'frame')} eager" if failed and self._graphs else "eager"
            yield Fallback(
                what="compiled",
                asked=self._asked["compiled"],
                ran=ran,
                reason=_first_line(reason) + _suppressed(),
            )


def _counters() -> dict[str, Counter[str]]:
    """A copy of torch's counters."""
    from torch._dynamo.utils import counters

    return {name: Counter(counters[name]) for name in _GROUPS}


def _latest(field: str) -> str:
    """The latest compilation's reason that is not empty."""
    from torch._dynamo.utils import get_compilation_metrics

    records: list[Any] = list(get_compilation_metrics())
    return next((str(r) for m in reversed(records) if (r := getattr(m, field, None))), "")


def _suppressed() -> str:
    from torch._dynamo import config

    return " (suppress_errors is on)" if config.suppress_errors else ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")

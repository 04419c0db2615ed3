"""The benchmark's tables of text."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.search.replay import RANDOM, STOCK, TARGETS, Run
from benchmarks.search.verdict import Ratio, Runs, overall, quartiles, ratios

_HEADER = (
    "sampler",
    "trials",
    *(f"{what} to {t:.0%}" for t in TARGETS for what in ("evaluations", "seconds")),
    *(f"never {t:.0%}" for t in TARGETS),
    "duplicates",
    "invalid",
    "failed",
    "final hypervolume",
    "CPU s/suggestion",
)


def table_lines(runs: Runs) -> list[str]:
    """One line for each sampler: medians over seeds, quartiles in brackets."""
    return _aligned([_HEADER, *(_line(name, found) for name, found in runs.items())])


def _line(sampler: str, runs: Sequence[Run]) -> tuple[str, ...]:
    reached = []
    for target in TARGETS:
        reached += [
            _spread([run.reached(target) for run in runs], ".0f"),
            _spread([run.reached_seconds(target) for run in runs], ".4g"),
        ]
    finals = [run.final for run in runs]
    return (
        sampler,
        str(runs[0].trials),
        *reached,
        *(str(sum(run.reached(t) is None for run in runs)) for t in TARGETS),
        _mean([run.duplicates for run in runs]),
        _mean([run.invalid for run in runs]),
        _mean([run.failed + run.lost for run in runs]),
        f"{statistics.mean(finals):.3f} ± {statistics.pstdev(finals):.3f}",
        f"{statistics.mean(run.cpu_seconds_per_suggestion for run in runs):.2g}",
    )


def ratio_lines(tables: Mapping[str, Runs], target: float) -> list[str]:
    """Every ratio, and the geometric means over the tables."""
    found = ratios(tables, target)
    rows = [(r.table, r.sampler, r.other, f"{r.bound}{r.value:.2f}", f"{r.p:.2g}") for r in found]
    lines = _aligned([("table", "sampler", "against", "ratio", "p"), *rows])
    for sampler in dict.fromkeys(r.sampler for r in found):
        for words, against in (("random", (RANDOM,)), ("the best stock sampler", STOCK)):
            mine = [r for r in found if r.sampler == sampler and r.other in against]
            if mine:
                lines.append(f"{sampler} against {words}: {_overall(mine)}")
    return lines


def _overall(found: Sequence[Ratio]) -> str:
    mean, bound = overall(found)
    counts = Counter(r.bound for r in found)
    if counts["?"] == len(found):
        return "no figure: neither got there on any table"
    words = f"geometric mean {bound}{mean:.2f} over {len(found) - counts['?']} tables"
    if counts[">="] or counts["<="]:
        words += f" ({counts['>=']} lower, {counts['<=']} upper bounds)"
    if counts["?"]:
        words += f"; neither got there on {counts['?']}"
    significant = sum(r.p < 0.05 and r.value > 1 for r in found)
    worse = sum(r.p < 0.05 and r.value < 1 for r in found)
    return f"{words}; better on {significant}, worse on {worse} of {len(found)} (p < 0.05)"


def _spread(values: Sequence[float | None], how: str) -> str:
    low, middle, high = ("never" if math.isinf(v) else format(v, how) for v in quartiles(values))
    return f"{middle} [{low}, {high}]"


def _mean(counts: Sequence[int]) -> str:
    return f"{statistics.mean(counts):.1f}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

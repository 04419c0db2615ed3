"""Alternates a candidate's blocks with the baseline's beside it, and turns pairs into numbers.

On a shared machine, measuring one and then the other is worthless: pairs must be adjacent in
time, and which of the two comes first must be random.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from autotune.bench.protocol import PROBE_SECONDS
from autotune.measure_settings import MeasureSettings
from autotune.messages import BlockPair, Measurement, Metrics
from autotune.metrics import METRICS
from autotune.statistics import Interval, median_interval, paired_ratio, unpaired_ratio

RunBlock = Callable[[], dict[str, float]]
Middle = Callable[[Sequence[float]], Interval]
"""The median of values with an interval."""


def alternate(
    candidate: RunBlock,
    reference: RunBlock,
    settings: MeasureSettings,
    headline: str,
    seed: int,
    on_pair: Callable[[int], None],
    lost: Callable[[Sequence[BlockPair]], bool] = lambda _: False,
) -> list[BlockPair]:
    """Runs pairs of blocks until the headline's ratio is known well enough.

    Args:
        candidate: Runs one block of the candidate.
        reference: Runs one block of the baseline.
        settings: How many pairs, how narrow.
        headline: The speed metric whose interval decides when to stop.
        seed: Orders each pair.
        on_pair: Told the number of pairs so far.
        lost: Whether what was measured so far shows already that the candidate is out.
    """
    order = random.Random(seed)
    pairs: list[BlockPair] = []
    while not _enough(pairs, settings, headline, lost):
        first = order.random() < 0.5
        if first:
            values = candidate()
            beside = reference()
        else:
            beside = reference()
            values = candidate()
        pairs.append(BlockPair(candidate=values, reference=beside, candidate_first=first))
        on_pair(len(pairs))
    return pairs


def _enough(
    pairs: Sequence[BlockPair],
    settings: MeasureSettings,
    headline: str,
    lost: Callable[[Sequence[BlockPair]], bool],
) -> bool:
    if len(pairs) < settings.min_pairs:
        return False
    if len(pairs) >= settings.max_pairs or converged(pairs, settings, headline):
        return True
    return lost(pairs)


def converged(pairs: Sequence[BlockPair], settings: MeasureSettings, headline: str) -> bool:
    """Whether the interval of the headline's ratio is as narrow as asked for; of its value where
    no baseline runs beside it."""
    found = _ratio(pairs, headline) if _is_paired(pairs) else _own(pairs, headline)
    return found.half_width_ratio <= settings.target_half_width_ratio


def _is_paired(pairs: Sequence[BlockPair]) -> bool:
    return PROBE_SECONDS not in pairs[0].reference


def _own(pairs: Sequence[BlockPair], name: str, middle: Middle = median_interval) -> Interval:
    return middle([p.candidate[name] for p in pairs])


def _ratio(pairs: Sequence[BlockPair], name: str, middle: Middle = median_interval) -> Interval:
    candidate, reference = [p.candidate[name] for p in pairs], [p.reference[name] for p in pairs]
    return paired_ratio(candidate, reference, middle)


def speed_metrics(
    pairs: Sequence[BlockPair],
    baseline: Metrics | None,
    settings: MeasureSettings,
    middle: Middle = median_interval,
) -> Metrics:
    """Speed metrics from raw pairs.

    A metric's value is the baseline's own value times the median paired ratio. The baseline
    itself (``baseline=None``) takes the median of its own blocks, on both sides of each pair.
    Where a probe took the baseline's place, a value is the median of the candidate's own blocks.

    Args:
        pairs: At least one.
        baseline: Its metrics.
        settings: When an interval is narrow enough.
        middle: Makes the intervals; by default those of a single look.
    """
    sides = set(pairs[0].candidate), set(pairs[0].reference)
    names = sorted(sides[0] & sides[1] if _is_paired(pairs) else sides[0])
    made = _paired_metric if _is_paired(pairs) else _single_metric
    return {name: made(name, pairs, baseline, settings, middle) for name in names}


def _single_metric(
    name: str,
    pairs: Sequence[BlockPair],
    baseline: Metrics | None,
    settings: MeasureSettings,
    middle: Middle,
) -> Measurement:
    found = _own(pairs, name, middle)
    reference = baseline[name].interval if baseline is not None and name in baseline else None
    ratio = unpaired_ratio(found, reference) if reference is not None else None
    return Measurement.of(
        found,
        METRICS[name].unit,
        "median" if baseline is None else "unpaired_median",
        "blocks without the baseline beside them",
        ratio=ratio,
        converged=converged(pairs, settings, name),
    )


def _paired_metric(
    name: str,
    pairs: Sequence[BlockPair],
    baseline: Metrics | None,
    settings: MeasureSettings,
    middle: Middle,
) -> Measurement:
    ratio = _ratio(pairs, name, middle)
    own = baseline[name].value if baseline is not None else None
    if own is None:
        blocks = [side[name] for p in pairs for side in (p.candidate, p.reference)]
        found, stat = middle(blocks), "median"
    else:
        found, stat = ratio.times(own), "median_ratio"
    return Measurement.of(
        found,
        METRICS[name].unit,
        stat,
        "alternating blocks",
        ratio=ratio,
        converged=converged(pairs, settings, name),
    )

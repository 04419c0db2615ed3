"""How far a timed value may be trusted, from its interval and from what disturbed it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from autotune.measure_settings import MeasureSettings
from autotune.messages import BlockPair, Contention, Grade, Measurement, Metrics
from autotune.metrics import METRICS, Direction


def grade(found: Measurement, contention: Contention | None, settings: MeasureSettings) -> Grade:
    """The grade of one timed value.

    The interval counts first: it holds what the disturbances did to the value. Contention and
    drift can make a grade worse, never better. Drift does not matter to pairs; a value that was
    taken without the baseline beside it has it in full, and is never of grade A. Where the
    baseline has lost much of its speed, something held it up that the kernel need not have
    counted (another machine on the same host), and that need not have held up a recipe with
    other threads as much: what pairs cancel is only what meets both alike.

    Args:
        found: The value with its paired ratio.
        contention: What was seen while it was taken; None if nobody looked.
        settings: The thresholds.
    """
    width = _half_width_ratio(found)
    disturbed = _disturbance(contention) if contention else 0.0
    if contention and not contention.paired:
        disturbed = max(disturbed, contention.drift_ratio)
    slowed = contention.lost_speed_ratio if contention else 0.0
    worst = max(disturbed, slowed)
    if width > settings.worst_half_width_ratio or worst > settings.worst_contention_ratio:
        return Grade.C
    marred = bool(
        contention and (contention.foreign_gpu_processes or contention.thermal_throttles)
    )
    drift = contention.drift_ratio if contention else 0.0
    quiet = (
        found.converged
        and (contention is None or contention.paired)
        and disturbed <= settings.quiet_contention_ratio
        and drift <= settings.quiet_drift_ratio
        and not marred
    )
    return Grade.A if quiet else Grade.B


def graded(timed: Metrics, contention: Contention, settings: MeasureSettings) -> Metrics:
    """Timed values with their grades; what has no value gets none."""
    return {
        name: found.model_copy(update={"grade": grade(found, contention, settings)})
        if found.value is not None
        else found
        for name, found in timed.items()
    }


def _half_width_ratio(found: Measurement) -> float:
    """Half the interval of the paired ratio, relative to it; of the value where there is none."""
    told = found.ratio_interval or found.interval
    return abs(told.half_width_ratio) if told and told.value else 0.0


def _disturbance(seen: Contention) -> float:
    """The largest share of the machine that somebody else took."""
    return max(
        seen.foreign_cpu_ratio + seen.steal_ratio,
        seen.memory_pressure_ratio or 0.0,
        seen.throttled_ratio or 0.0,
    )


def lost_speed_ratio(pairs: Sequence[BlockPair], name: str, own: float | None) -> float:
    """How much of its speed the baseline lacked beside a candidate: 0, if it was as fast as in its
    own trial or faster.

    Args:
        pairs: With the baseline's blocks.
        name: The metric to look at.
        own: Its value in the baseline's own trial; None: nobody knows.
    """
    if not own:
        return 0.0
    beside = statistics.median(pair.reference[name] for pair in pairs)
    kept = beside / own if METRICS[name].direction is Direction.MAXIMIZE else own / beside
    return max(0.0, 1.0 - kept)


def drift_ratio(pairs: Sequence[BlockPair], name: str) -> float:
    """How much the baseline's median changed from the first half of the pairs to the second.

    Args:
        pairs: In the order in which they were measured.
        name: The metric to look at.
    """
    logs = [math.log(pair.reference[name]) for pair in pairs]
    if len(logs) < 2:
        return 0.0
    half = len(logs) // 2
    change = statistics.median(logs[half:]) - statistics.median(logs[:half])
    return math.expm1(abs(change))

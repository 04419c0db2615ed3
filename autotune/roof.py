"""How far from the roof: the work of a pass over the time it took over what the device can do, and
which of its two roofs bounds it (Williams, Waterman and Patterson, Roofline, CACM 52(4), 2009).

Arithmetic on metrics alone; the rates and the work are measured in a bench process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from autotune.messages import Grade, Measurement, Metrics
from autotune.metrics.roof import matmul_rate_name

NEAR = 0.5
"""From this share of a roof on, a pass counts as bound by it. Half, because the roofs are the best
of large square products and long streams, which real layers with their small and uneven shapes
rarely reach to more than some 80 %, while passes that wait for something else stay far below."""

_MEMORY_RATES = ("roof_copy_bytes_per_second", "roof_read_bytes_per_second")
_PROMPT_TIMES = ("ttft_seconds", "e2e_latency_seconds")
_STEP_TIMES = ("tpot_seconds",)


class Bound(StrEnum):
    """What a pass waits for."""

    COMPUTE = "compute"
    BANDWIDTH = "memory bandwidth"
    CACHE = "cache"
    """It reads faster than memory could give: what it reads fits into a cache."""
    OVERHEAD = "overhead"
    """Neither roof is near: launches, Python, small shapes, waiting."""


@dataclass(frozen=True)
class _Share:
    """One utilization: which work over which time over which roof."""

    work: str
    times: tuple[str, ...]
    """The first of them that was measured is taken."""
    of_compute: bool


_SHARES = {
    "model_flops_utilization": _Share("prompt_flops", _PROMPT_TIMES, True),
    "prompt_bandwidth_utilization": _Share("prompt_bytes", _PROMPT_TIMES, False),
    "decode_flops_utilization": _Share("decode_step_flops", _STEP_TIMES, True),
    "bandwidth_utilization": _Share("decode_step_bytes", _STEP_TIMES, False),
}


def utilizations(metrics: Metrics, roof: Metrics, number_format: str) -> Metrics:
    """The share of the device's rates that a trial's work took.

    Args:
        metrics: The trial's, with its timings and its work. A share exists where both do.
        roof: The baseline's, with the device's rates; those of a study that was begun before
            rates were measured have none, and the shares are null with that reason.
        number_format: In which most of the trial's products are computed, e.g. ``bfloat16``.
    """
    rates = {True: _matmul_rate(roof, number_format), False: _memory_rate(roof)}
    found: Metrics = {}
    for name, share in _SHARES.items():
        time = _time(share, metrics)
        if share.work in metrics and time is not None:
            rate = rates[share.of_compute]
            found[name] = _utilization(
                metrics[share.work], time, rate, of_compute=share.of_compute
            )
    return found


def rescaled(before: Metrics, after: Metrics) -> Metrics:
    """The shares once their timings have been replaced, as by those of fresh processes.

    Args:
        before: With the shares and the timings that they were computed from.
        after: With the new timings.
    """
    found: Metrics = {}
    for name, share in _SHARES.items():
        old, new = _time(share, before), _time(share, after)
        given = before.get(name)
        if given is None or given.value is None or not (old and old.value and new and new.value):
            continue
        again = _over(given.value * old.value, new, given.source)
        # Where it differs from the old timing's grade, it is the rate's, which stays.
        rate = given.grade if given.grade != old.grade else None
        found[name] = again.model_copy(update={"grade": _worse(new.grade, rate)})
    return found


def _time(share: _Share, metrics: Metrics) -> Measurement | None:
    return next((metrics[name] for name in share.times if name in metrics), None)


def _utilization(
    work: Measurement, time: Measurement, rate: Measurement, *, of_compute: bool
) -> Measurement:
    if not (work.value and time.value and rate.value):
        reason = work.reason or time.reason or rate.reason or "nothing was counted"
        return Measurement.unavailable("ratio", reason)
    found = _over(work.value / rate.value, time, f"over {rate.source}")
    share = found.value or 0.0
    if of_compute and (share > _IMPOSSIBLE or (found.low or share) > _MOST):
        reason = (
            f"the trial computed faster than the device's rate ({rate.source}): that was measured "
            "while the machine was disturbed"
        )
        return Measurement.unavailable("ratio", reason)
    return found.model_copy(update={"grade": _worse(time.grade, rate.grade)})


def _worse(one: Grade | None, other: Grade | None) -> Grade | None:
    return max(filter(None, (one, other)), default=None)  # they sort as their letters


def _over(seconds_at_the_roof: float, time: Measurement, source: str) -> Measurement:
    """The ideal time over the real one; the real one's interval turned over, its grade kept."""
    assert time.value
    return Measurement(
        value=seconds_at_the_roof / time.value,
        unit="ratio",
        stat=time.stat,
        ci_low=seconds_at_the_roof / time.ci_high if time.ci_high else None,
        ci_high=seconds_at_the_roof / time.ci_low if time.ci_low else None,
        n=time.n,
        source=source,
        converged=time.converged,
        grade=time.grade,
    )


def _matmul_rate(roof: Metrics, number_format: str) -> Measurement:
    name = matmul_rate_name(number_format)
    if name in roof:
        return roof[name].model_copy(update={"source": name})
    known = any(rate in roof for rate in _MEMORY_RATES)
    return Measurement.unavailable(
        "", f"no matmul rate of {number_format} is measured" if known else _NO_ROOF
    )


def _memory_rate(roof: Metrics) -> Measurement:
    """The faster of copying and reading: steps only read, and on a CPU a copy's writes cost a
    read of their own that STREAM does not count."""
    found = {n: roof[n] for n in _MEMORY_RATES if n in roof}
    if not found:
        return Measurement.unavailable("", _NO_ROOF)
    name = max(found, key=lambda n: found[n].value or 0.0)
    return found[name].model_copy(update={"source": name})


_MOST = 1.1
"""No pass computes faster than the best of the device's products, but for their noise."""

_IMPOSSIBLE = 1.5
"""Above this, no width of its interval makes a share of the device's products believable."""

_NO_ROOF = "the study's baseline was measured without the device's rates"


def bound(flops: float | None, bandwidth: float | None, fits: bool | None) -> Bound | None:
    """What bounds a pass.

    Args:
        flops: Its share of the matmul rate; None where it is not known.
        bandwidth: Its share of the memory rate.
        fits: Whether all that it reads fits into the last-level cache, which the memory rate does
            not limit; None where that is not known: then a share above 1 says so.

    Returns:
        The nearer of the roofs that are ``NEAR``, else overhead; None where a roof that is not
        known may be the near one.
    """
    cached = fits if fits is not None else (bandwidth or 0.0) > 1
    computes = (flops or 0.0) >= NEAR
    reads = (bandwidth or 0.0) >= NEAR
    if computes and (cached or (flops or 0.0) >= (bandwidth or 0.0)):
        return Bound.COMPUTE
    if reads and not cached:
        return Bound.BANDWIDTH
    if cached and (bandwidth or 0.0) > 1:
        return Bound.CACHE
    return None if flops is None or bandwidth is None else Bound.OVERHEAD


def what_bounds(metrics: Metrics, roof: Metrics) -> str:
    """In a short phrase: ``compute (62 %) in prefill; memory bandwidth (71 %) in decode``,
    with "disturbed" where the machine was too disturbed to rely on it.

    Args:
        metrics: The trial's.
        roof: The baseline's; only the size of the cache is taken from it.

    Returns:
        Empty where no share was measured.
    """
    return "; ".join(_phrases(metrics, roof))


def _phrases(metrics: Metrics, roof: Metrics) -> Iterator[str]:
    decodes = "ttft_seconds" in metrics
    names = list(_SHARES)
    passes = {"prefill" if decodes else "the forward pass": names[:2], "decode": names[2:]}
    for title, (compute, memory) in passes.items():
        flops, bandwidth = _value(metrics, compute), _value(metrics, memory)
        reads, cache = _value(metrics, _SHARES[memory].work), _value(roof, "roof_cache_bytes")
        fits = reads <= cache if reads and cache else None
        found = bound(flops, bandwidth, fits)
        if found is not None:
            words = _words(found, flops or 0.0, bandwidth or 0.0)
            yield f"{words} in {title}{_doubt(metrics, (compute, memory))}"


def _doubt(metrics: Metrics, names: tuple[str, ...]) -> str:
    disturbed = any(metrics[name].grade is Grade.C for name in names if name in metrics)
    return ", disturbed" if disturbed else ""


def _words(found: Bound, flops: float, bandwidth: float) -> str:
    if found is Bound.COMPUTE:
        return f"{found} ({_percent(flops)})"
    if found is Bound.BANDWIDTH:
        return f"{found} ({_percent(bandwidth)})"
    if found is Bound.CACHE:
        return f"{found} ({_percent(bandwidth)} of memory's rate: what it reads fits into cache)"
    return f"{found} (compute {_percent(flops)}, memory {_percent(bandwidth)})"


def _percent(share: float) -> str:
    return f"{share * 100:.2g} %" if share < 0.1 else f"{share * 100:.0f} %"


def _value(metrics: Metrics, name: str) -> float | None:
    found = metrics.get(name)
    return found.value if found else None

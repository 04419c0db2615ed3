"""The device's measured rates, in a line for people."""

from __future__ import annotations

from autotune.messages import Metrics
from autotune.metrics import METRICS
from autotune.metrics.roof import FORMATS, matmul_rate_name
from autotune.report.format import measured

_MEMORY = ("roof_copy_bytes_per_second", "roof_read_bytes_per_second", "roof_cache_bytes")


def device_rates(baseline: Metrics) -> str:
    """Every rate that was measured: ``float32 matmul rate 170 GFLOP/s, read rate 33 GB/s``.

    Args:
        baseline: The baseline's metrics.

    Returns:
        Empty for a study that was begun before rates were measured.
    """
    names = (*map(matmul_rate_name, FORMATS), *_MEMORY)
    found = {name: baseline[name] for name in names if name in baseline}
    return ", ".join(
        f"{METRICS[name].label} {measured(name, rate)}"
        for name, rate in found.items()
        if rate.value is not None
    )

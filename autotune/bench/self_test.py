"""The memory meter held against a known spike: ``python -m autotune.bench.self_test MEBIBYTES``.

A process of its own, because the meter reads the memory of the process it lives in.
"""

from __future__ import annotations

import sys

import torch

from autotune.bench.meters.memory import MemoryMeter, status_bytes
from autotune.device import detect


def spike_error_bytes(mebibytes: int) -> int:
    """Allocates, fills and frees a known tensor.

    Returns:
        How much the peak that the meter reads differs from the truth.
    """
    assert torch.ones(1 << 20).sum() > 0  # brings in the code
    meter = MemoryMeter(detect("cpu"))
    meter.before_loading()
    meter.start()
    before = status_bytes("VmHWM")
    spike = torch.ones(mebibytes << 18)
    assert spike.sum() > 0
    del spike
    peak = meter.read()["host_peak_rss_bytes"].value
    assert peak is not None
    return round(peak - before - (mebibytes << 20))


if __name__ == "__main__":
    print(spike_error_bytes(int(sys.argv[1])))

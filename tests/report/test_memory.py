"""Which phase sets the memory peak, in words."""

from __future__ import annotations

import pytest

from autotune.messages import Measurement, Metrics
from autotune.report.memory import peak_phase

MIB = 1 << 20


def peaks(pattern: str, **mebibytes: float | None) -> Metrics:
    return {
        pattern.format(phase): Measurement(value=None if v is None else v * MIB, unit="B")
        for phase, v in mebibytes.items()
    }


HOST, DEVICE = "host_{}_peak_rss_bytes", "device_{}_peak_allocated_bytes"


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({}, ""),
        (peaks(HOST, load=None), ""),
        (
            peaks(HOST, load=900, transform=400, prefill=500, decode=450),
            "host memory peak set by load: load 900 MiB · transform 400 MiB · prefill 500 MiB · "
            "decode 450 MiB",
        ),
        (
            peaks(HOST, decode=500, prefill=499, load=300),
            "host memory peak set by prefill and decode: load 300 MiB · prefill 499 MiB · "
            "decode 500 MiB",
        ),
        (
            peaks(HOST, load=498, transform=499, decode=500, prefill=300),
            "host memory peak set by load, transform and decode: load 498 MiB · transform 499 MiB "
            "· prefill 300 MiB · decode 500 MiB",
        ),
        (
            peaks(HOST, load=500, transform=499),
            "host memory peak about the same in each phase: load 500 MiB · transform 499 MiB",
        ),
        (
            peaks(HOST, load=900) | peaks(DEVICE, load=100, decode=200),
            "device memory peak set by decode: load 100 MiB · decode 200 MiB",
        ),
    ],
)
def test_peak_phase(metrics: Metrics, words: str) -> None:
    assert peak_phase(metrics) == words

"""Memory peaks of one phase of a bench process's life each."""

from __future__ import annotations

from autotune.metrics.kinds import DOWN, GENERATES, Family, Metric

PHASES = {
    "load": "while the weights are loaded",
    "transform": "while the plugins' transforms run, compilation not included",
    "prefill": "from the start of one more request, after the timed blocks, to its first token",
    "decode": "from the first token of that request to its end",
}
"""Phase → when it is, in the order of a trial's life."""


def host_peak(phase: str) -> str:
    """The metric of the host's peak in a phase."""
    return f"host_{phase}_peak_rss_bytes"


def device_peak(phase: str) -> str:
    """The metric of the device's peak in a phase."""
    return f"device_{phase}_peak_allocated_bytes"


def _metric(name: str, phase: str, what: str, label: str) -> Metric:
    return Metric(
        name,
        "B",
        DOWN,
        Family.MEMORY,
        f"{what}, reset before, {PHASES[phase]}",
        f"{label} ({phase})",
        tasks=GENERATES if phase in ("prefill", "decode") else (),
        resolution_ratio=0.02,
    )


PHASE_PEAKS = (
    *(_metric(host_peak(p), p, "VmHWM", "host peak") for p in PHASES),
    *(
        _metric(device_peak(p), p, "peak of live bytes in torch's CUDA allocator", "device peak")
        for p in PHASES
    ),
)
"""Two metrics for each phase."""

"""What can be asked of the bare device, whether or not the process holds a model."""

from __future__ import annotations

from autotune.bench.meters.roof import measure_roof
from autotune.bench.probe import probe_values
from autotune.bench.protocol import Operation, Reply
from autotune.messages import TrialSpec

_ROOF_SECONDS, _ROOF_BLOCKS = 3.0, 6
"""The device's rates take about so many seconds, and no longer than so many blocks."""


def measure_device(operation: Operation, spec: TrialSpec) -> Reply:
    """Runs a block of the probe, or measures the device's rates.

    Args:
        operation: ``PROBE`` or ``ROOF``.
        spec: Says which device, and how long a block is.
    """
    if operation is Operation.PROBE:
        return Reply(values=probe_values(spec.device.torch_name))
    assert operation is Operation.ROOF, operation
    seconds = min(_ROOF_SECONDS, _ROOF_BLOCKS * spec.settings.block_seconds)
    return Reply(metrics=measure_roof(spec.device, seconds))

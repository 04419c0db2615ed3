"""Energy: who can tell it, in the order of trust, and the metrics made of what they tell.

``measured:external`` (a meter that another distribution brings) > ``measured:counter`` (NVML,
RAPL, zeus) > ``measured:sampled`` (a power sensor, integrated) > ``estimated:cpu_time`` (only if
the user gives the watts of a core) > ``unavailable``, with the reason. Nothing is ever guessed.

Imports no torch: the coordinator asks here whether a study can have an energy objective.
"""

from autotune.energy.base import Counter, EnergyMeter
from autotune.energy.cpu_time import CpuTimeEstimate
from autotune.energy.find import energy_source, find_meter
from autotune.energy.nvml import sensor_caveat
from autotune.energy.windows import Window, energy_metrics, idle_power, temperature, unavailable

__all__ = [
    "Counter",
    "CpuTimeEstimate",
    "EnergyMeter",
    "Window",
    "energy_metrics",
    "energy_source",
    "find_meter",
    "idle_power",
    "sensor_caveat",
    "temperature",
    "unavailable",
]

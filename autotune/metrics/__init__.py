"""The catalogue of metrics: name, unit, direction and formula of every quantity."""

from autotune.metrics.catalogue import METRICS, default_objectives, metric
from autotune.metrics.kinds import Direction, Family, Metric
from autotune.metrics.percentiles import PERCENTILES, percentile_name
from autotune.metrics.phases import PHASES, device_peak, host_peak

__all__ = [
    "METRICS",
    "PERCENTILES",
    "PHASES",
    "Direction",
    "Family",
    "Metric",
    "default_objectives",
    "device_peak",
    "host_peak",
    "metric",
    "percentile_name",
]

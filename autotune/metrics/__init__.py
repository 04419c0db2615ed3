"""The catalogue of metrics: name, unit, direction and formula of every quantity."""

from autotune.metrics.aims import AIMS, DEFAULT_AIMS, objective
from autotune.metrics.catalogue import METRICS, metric
from autotune.metrics.kinds import Direction, Family, Metric
from autotune.metrics.percentiles import PERCENTILES, percentile_name
from autotune.metrics.phases import PHASES, device_peak, host_peak

__all__ = [
    "AIMS",
    "DEFAULT_AIMS",
    "METRICS",
    "PERCENTILES",
    "PHASES",
    "Direction",
    "Family",
    "Metric",
    "device_peak",
    "host_peak",
    "metric",
    "objective",
    "percentile_name",
]

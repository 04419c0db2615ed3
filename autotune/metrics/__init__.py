"""The catalogue of metrics: name, unit, direction and formula of every quantity."""

from autotune.metrics.catalogue import (
    METRICS,
    PERCENTILES,
    default_objectives,
    metric,
    percentile_name,
)
from autotune.metrics.kinds import Direction, Family, Metric

__all__ = [
    "METRICS",
    "PERCENTILES",
    "Direction",
    "Family",
    "Metric",
    "default_objectives",
    "metric",
    "percentile_name",
]

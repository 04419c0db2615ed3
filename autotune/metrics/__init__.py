"""The catalogue of metrics: name, unit, direction and formula of every quantity."""

from autotune.metrics.catalogue import METRICS, default_objectives, metric
from autotune.metrics.kinds import Direction, Family, Metric

__all__ = ["METRICS", "Direction", "Family", "Metric", "default_objectives", "metric"]

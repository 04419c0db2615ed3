"""What a study has taught: effects of plugins and values, failures, constraints, why it ended."""

from autotune.explain.records import Explanation
from autotune.explain.study import explain, explain_points

__all__ = ["Explanation", "explain", "explain_points"]

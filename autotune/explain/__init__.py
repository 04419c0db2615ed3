"""What a study has taught: effects of plugins and values, failures, constraints, why it ended."""

from autotune.explain.records import Explanation
from autotune.explain.study import explain

__all__ = ["Explanation", "explain"]

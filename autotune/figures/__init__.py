"""Figures of a study for plotly, as plain data: the dashboard and notebooks show the same."""

from autotune.figures.effects import effects_figure
from autotune.figures.front import front_figure, pairs
from autotune.figures.parallel import parallel_figure
from autotune.figures.progress import progress_figure

__all__ = ["effects_figure", "front_figure", "pairs", "parallel_figure", "progress_figure"]

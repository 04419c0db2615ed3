"""Studies in notebooks: search, look, plot."""

from autotune.notebook.search import open_study, search
from autotune.notebook.study import Study
from autotune.notebook.trials import Trial, Trials

__all__ = ["Study", "Trial", "Trials", "open_study", "search"]

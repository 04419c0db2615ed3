"""The front: which trials no other beats beyond noise, how far it reaches, which to take."""

from autotune.front.choice import Choices, choose
from autotune.front.confirmed import (
    fallbacks_of,
    front_points,
    is_confirmed,
    study_spreads,
)
from autotune.front.dominance import FrontPoint, dominates, front
from autotune.front.hypervolume import (
    Axis,
    HypervolumeScale,
    bounds_of,
    hypervolume,
    hypervolume_history,
)
from autotune.front.pick_expression import metrics_asked_for
from autotune.front.picks import PICKS, Candidates, picks, ties, unpicked
from autotune.front.repetitions import confirmed_metrics, usable
from autotune.front.running import RunningFront
from autotune.front.tasks import p_value, task_metrics, task_verdict
from autotune.front.words import against_baseline, ratio_interval, ratio_to_baseline

__all__ = [
    "PICKS",
    "Axis",
    "Candidates",
    "Choices",
    "FrontPoint",
    "HypervolumeScale",
    "RunningFront",
    "against_baseline",
    "bounds_of",
    "choose",
    "confirmed_metrics",
    "dominates",
    "fallbacks_of",
    "front",
    "front_points",
    "hypervolume",
    "hypervolume_history",
    "is_confirmed",
    "metrics_asked_for",
    "p_value",
    "picks",
    "ratio_interval",
    "ratio_to_baseline",
    "study_spreads",
    "task_metrics",
    "task_verdict",
    "ties",
    "unpicked",
    "usable",
]

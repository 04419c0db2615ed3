"""Which of very many trials may be on the front, from columns of numbers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from autotune.front import FrontPoint, front
from autotune.front.dominance import costs_of
from autotune.front.screen import cost_columns, may_lead
from autotune.messages import Measurement, Metrics

OBJECTIVES = ("output_tokens_per_second", "host_model_peak_bytes", "kld_mean_nats")
FLOOR = 0.002


def metrics(rng: random.Random) -> Metrics:
    """Coarse values, so that many tie; wide intervals and narrow ones; some values missing."""
    found: Metrics = {}
    for name, scale in zip(OBJECTIVES, (100.0, 1e8, 0.01), strict=True):
        value = scale * rng.choice([0.1, 0.5, 0.9, 1, 1.01, 1.2, 2, 5])
        width = value * rng.choice([0.0, 0.01, 0.3])
        low, high = (value - width, value + width) if width else (None, None)
        found[name] = Measurement(value=value, unit="", ci_low=low, ci_high=high)
        if rng.random() < 0.05:
            found[name] = Measurement.unavailable("", "nobody looked")
    floor = Measurement(value=FLOOR / 2, unit="", ci_low=0.0, ci_high=FLOOR)
    return found | {"kld_self_floor_nats": floor}


def points(seed: int, count: int = 200) -> list[FrontPoint]:
    rng = random.Random(seed)
    return [FrontPoint(n, {"a": {"b": n}}, metrics(rng), True) for n in range(count)]


def columns(found: list[FrontPoint]) -> np.ndarray:
    parts = []
    for name in OBJECTIVES:
        ends = [
            [np.nan if end is None else end for end in (m.value, m.low, m.high)]
            for m in (point.metrics[name] for point in found)
        ]
        floor = FLOOR if name.startswith("kld") else -np.inf
        parts.append(cost_columns(name, *np.array(ends).T, floor))
    return np.array(parts).swapaxes(0, 1)


def test_columns_are_what_points_are_compared_by() -> None:
    found = points(0)
    assert columns(found) == pytest.approx(costs_of(found, OBJECTIVES))


@pytest.mark.parametrize("seed", range(10))
def test_all_of_the_front_may_lead_and_most_others_may_not(seed: int) -> None:
    found = points(seed)
    kept = may_lead(columns(found), np.ones(len(found), dtype=bool))
    best = {point.number for point in front(found, OBJECTIVES)}
    assert best <= set(np.flatnonzero(kept))
    assert kept.sum() < 0.7 * len(found)


def test_what_is_not_sound_sends_nobody_away() -> None:
    found = points(1)
    assert may_lead(columns(found), np.zeros(len(found), dtype=bool)).all()


def test_no_trials_are_no_trouble() -> None:
    assert may_lead(np.zeros((5, 3, 0)), np.zeros(0, dtype=bool)).shape == (0,)

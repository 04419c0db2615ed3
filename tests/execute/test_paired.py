"""Alternating blocks, and the numbers made from pairs."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from autotune.execute.paired import alternate, converged, speed_metrics
from autotune.measure_settings import MeasureSettings
from autotune.messages import BlockPair, Measurement

SPEED = "output_tokens_per_second"
SETTINGS = MeasureSettings(min_pairs=6, max_pairs=12, target_half_width_ratio=0.02)


class Machine:
    """Gives block values from a list, over and over, and writes down who ran."""

    def __init__(self, candidate: Sequence[float], reference: Sequence[float]) -> None:
        self._values = {"candidate": list(candidate), "reference": list(reference)}
        self.order: list[str] = []

    def _block(self, who: str) -> dict[str, float]:
        count = self.order.count(who)
        self.order.append(who)
        values = self._values[who]
        return {SPEED: values[count % len(values)]}

    def candidate(self) -> dict[str, float]:
        return self._block("candidate")

    def reference(self) -> dict[str, float]:
        return self._block("reference")

    def run(self, settings: MeasureSettings = SETTINGS, seed: int = 0) -> list[BlockPair]:
        self.told: list[int] = []
        return alternate(self.candidate, self.reference, settings, SPEED, seed, self.told.append)


def pairs(candidate: Sequence[float], reference: Sequence[float]) -> list[BlockPair]:
    return [
        BlockPair(candidate={SPEED: c}, reference={SPEED: r}, candidate_first=True)
        for c, r in zip(candidate, reference, strict=True)
    ]


def test_steady_blocks_stop_at_the_fewest_pairs() -> None:
    machine = Machine([200.0], [100.0])
    assert len(machine.run()) == 6
    assert machine.told == [1, 2, 3, 4, 5, 6]


def test_noisy_blocks_go_on_to_the_most_pairs() -> None:
    machine = Machine([100.0, 200.0, 300.0, 150.0], [100.0])
    assert len(machine.run()) == 12


def test_measuring_stops_as_soon_as_the_interval_is_narrow() -> None:
    """One wild block in the beginning: with more pairs the median's interval leaves it out."""
    machine = Machine([400.0] + [200.0] * 20, [100.0])
    assert 6 < len(machine.run()) < 12


def test_measuring_stops_once_the_candidate_is_surely_out() -> None:
    machine = Machine([100.0, 200.0, 300.0, 150.0], [100.0])
    asked: list[int] = []

    def lost(found: Sequence[BlockPair]) -> bool:
        asked.append(len(found))
        return len(found) == 8

    args = (machine.candidate, machine.reference, SETTINGS, SPEED, 0, lambda _: None, lost)
    assert len(alternate(*args)) == 8
    assert asked == [6, 7, 8]


def test_drift_shared_by_both_does_not_matter() -> None:
    drift = [100.0 * 1.2**i for i in range(12)]
    machine = Machine([2 * d for d in drift], drift)
    assert len(machine.run()) == 6


def test_each_pair_runs_both_in_a_random_order() -> None:
    machine = Machine([100.0, 300.0], [100.0])
    found = machine.run(seed=3)
    beside = list(zip(machine.order[::2], machine.order[1::2], strict=True))
    assert all(set(pair) == {"candidate", "reference"} for pair in beside)
    assert [pair[0] == "candidate" for pair in beside] == [p.candidate_first for p in found]
    assert {p.candidate_first for p in found} == {True, False}


def test_order_follows_the_seed() -> None:
    def order(seed: int) -> list[str]:
        machine = Machine([100.0, 300.0], [100.0])
        machine.run(seed=seed)
        return machine.order

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(8)}) > 1


def test_values_belong_to_their_side() -> None:
    found = Machine([200.0], [100.0]).run(seed=5)
    assert all((p.candidate[SPEED], p.reference[SPEED]) == (200.0, 100.0) for p in found)


def test_converged_looks_at_the_headline_only() -> None:
    steady, noisy = "ttft_seconds", SPEED
    found = [
        BlockPair(
            candidate={steady: 1.0, noisy: 100.0 * (1 + i % 3)},
            reference={steady: 1.0, noisy: 100.0},
            candidate_first=True,
        )
        for i in range(8)
    ]
    assert converged(found, SETTINGS, steady)
    assert not converged(found, SETTINGS, noisy)


def test_baseline_is_the_median_of_both_sides() -> None:
    found = speed_metrics(pairs([90.0] * 6, [110.0] * 6), None, SETTINGS)[SPEED]
    assert (found.value, found.stat, found.n) == (100.0, "median", 12)
    assert (found.ci_low, found.ci_high) == (90.0, 110.0)
    assert found.ratio == pytest.approx(90 / 110)


def test_candidate_is_the_baselines_value_times_the_ratio() -> None:
    """The reference blocks ran on a machine half as fast as when the baseline was measured."""
    baseline = {SPEED: Measurement(value=200.0, unit="1/s")}
    found = speed_metrics(pairs([150.0] * 6, [100.0] * 6), baseline, SETTINGS)[SPEED]
    assert found.value == pytest.approx(300.0)
    assert (found.stat, found.unit, found.n) == ("median_ratio", "1/s", 6)
    assert found.ratio == pytest.approx(1.5)
    assert found.converged


def test_candidate_interval_is_that_of_the_ratio() -> None:
    draw = random.Random(1)
    noisy = [100 * draw.lognormvariate(0, 0.3) for _ in range(12)]
    baseline = {SPEED: Measurement(value=200.0, unit="1/s")}
    found = speed_metrics(pairs(noisy, [100.0] * 12), baseline, SETTINGS)[SPEED]
    assert found.ratio_ci_low is not None
    assert found.ratio_ci_high is not None
    assert found.ratio_ci_low < (found.ratio or 0) < found.ratio_ci_high
    assert found.ci_low == pytest.approx(200 * found.ratio_ci_low)
    assert found.ci_high == pytest.approx(200 * found.ratio_ci_high)
    assert not found.converged


def test_only_metrics_of_both_sides_count() -> None:
    found = [
        BlockPair(
            candidate={SPEED: 1.0, "tpot_seconds": 1.0},
            reference={SPEED: 1.0, "ttft_seconds": 1.0},
            candidate_first=True,
        )
    ] * 6
    assert set(speed_metrics(found, None, SETTINGS)) == {SPEED}
